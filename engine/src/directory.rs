//! People: who is in which group and queue, who is whose manager, and who acts for whom.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};

use crate::{
    definition::DirectoryDocument,
    delegation::{DELEGATIONS_OF_USER_MAX, Delegation, check_delegation},
    id::UserName,
};

/// How many managers up a chain is followed before it is taken for a loop.
pub const MANAGER_LEVELS_MAX: u32 = 100;

/// Everybody of one tenant, as known at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directory {
    /// Users by name.
    pub users: BTreeMap<String, User>,
    /// Groups by name.
    pub groups: BTreeMap<String, Group>,
    /// Queues by name.
    pub queues: BTreeMap<String, Queue>,
    /// Delegations by name.
    pub delegations: BTreeMap<String, Delegation>,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Unique in the tenant.
    pub name: String,
    /// An inactive person is never asked and may not decide.
    #[serde(default = "yes")]
    pub active: bool,
    /// The name of their manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// Where mail goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Where they live: the name of a time zone in the IANA database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// People who are asked together. Groups nest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Unique among the tenant's groups.
    pub name: String,
    /// Names of users.
    #[serde(default)]
    pub members: BTreeSet<String>,
    /// Names of groups whose members are members too.
    #[serde(default)]
    pub groups: BTreeSet<String>,
}

/// A shared list of work items that its members take from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Unique among the tenant's queues.
    pub name: String,
    /// Names of users.
    #[serde(default)]
    pub members: BTreeSet<String>,
    /// Names of groups whose members are members too.
    #[serde(default)]
    pub groups: BTreeSet<String>,
}

fn yes() -> bool {
    true
}

/// Why the directory would not be sound with a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// A group would hold itself.
    #[error("group `{group}` would contain itself: {path}")]
    GroupCycle {
        /// The group that the change was about.
        group: String,
        /// The way round, as `a > b > a`.
        path: String,
    },
    /// A name that nothing has.
    #[error("{holder} names {kind} `{name}`, which does not exist")]
    Unknown {
        /// What names it, such as "group `finance`".
        holder: String,
        /// user or group.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A name that is not one.
    #[error("`{name}` is not a name: use 1 to 128 characters without spaces or control characters")]
    BadName {
        /// What was given.
        name: String,
    },
    /// A time zone that is not one.
    #[error("user `{user}`: time_zone: {why}")]
    TimeZone {
        /// Whose.
        user: String,
        /// What is wrong with it.
        why: String,
    },
    /// A delegation that cannot be.
    #[error("delegation `{name}`: {field}: {why}")]
    Delegation {
        /// Which; empty for one that has no name yet.
        name: String,
        /// What of it.
        field: &'static str,
        /// What is wrong with that.
        why: String,
    },
}

impl Directory {
    /// The directory with the entries of a document put.
    pub fn with_document(mut self, document: DirectoryDocument) -> Result<Self, DirectoryError> {
        self.put(document)?;
        Ok(self)
    }

    /// Puts the entries of a document. Answers with the delegations as they came to be.
    pub fn put(&mut self, document: DirectoryDocument) -> Result<Vec<Delegation>, DirectoryError> {
        let DirectoryDocument { users, groups, queues, delegations } = document;
        self.users.extend(users.into_iter().map(|user| (user.name.clone(), user)));
        self.groups.extend(groups.into_iter().map(|group| (group.name.clone(), group)));
        self.queues.extend(queues.into_iter().map(|queue| (queue.name.clone(), queue)));
        let mut put = BTreeMap::new();
        for delegation in delegations {
            let delegation = delegation.resolve(self)?;
            if let Some(other) = put.insert(delegation.name.clone(), delegation) {
                let why = "there is another of this name: give each a name of its own".to_owned();
                return Err(DirectoryError::Delegation { name: other.name, field: "name", why });
            }
        }
        self.delegations.extend(put.clone());
        Ok(put.into_values().collect())
    }

    /// The delegations in force by which this person may act for somebody, by their names.
    pub fn delegations_to<'a>(&'a self, person: &'a str, now: Timestamp) -> impl Iterator<Item = &'a Delegation> {
        self.delegations
            .values()
            .filter(move |delegation| delegation.is_in_force(now) && delegation.delegates().any(|name| name == person))
    }

    /// The delegations in force that this person has given, by their names.
    pub fn delegations_from<'a>(&'a self, person: &'a str, now: Timestamp) -> impl Iterator<Item = &'a Delegation> {
        self.delegations.values().filter(move |delegation| delegation.from == person && delegation.is_in_force(now))
    }

    /// Whether this is a user who is active.
    pub fn is_active(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|user| user.active)
    }

    /// The users of a group, through its groups, active or not; `None` when there is no such group.
    pub fn members_of_group(&self, group: &str) -> Option<BTreeSet<&str>> {
        let (name, _) = self.groups.get_key_value(group)?;
        Some(self.collect_members([name.as_str()]))
    }

    /// The users of a queue, through its groups, active or not; `None` when there is no such queue.
    pub fn members_of_queue(&self, queue: &str) -> Option<BTreeSet<&str>> {
        let queue = self.queues.get(queue)?;
        let mut members = self.collect_members(queue.groups.iter().map(String::as_str));
        members.extend(queue.members.iter().map(String::as_str));
        Some(members)
    }

    /// The groups that a user is in, directly or through groups.
    pub fn groups_of(&self, user: &str) -> BTreeSet<&str> {
        let mut found: BTreeSet<&str> = BTreeSet::new();
        let mut next: Vec<&str> = self
            .groups
            .values()
            .filter(|group| group.members.contains(user))
            .map(|group| group.name.as_str())
            .collect();
        while let Some(name) = next.pop() {
            if found.insert(name) {
                next.extend(
                    self.groups.values().filter(|group| group.groups.contains(name)).map(|group| group.name.as_str()),
                );
            }
        }
        found
    }

    /// The queues that a user takes from.
    pub fn queues_of(&self, user: &str) -> BTreeSet<&str> {
        let groups = self.groups_of(user);
        self.queues
            .values()
            .filter(|queue| {
                queue.members.contains(user) || queue.groups.iter().any(|group| groups.contains(group.as_str()))
            })
            .map(|queue| queue.name.as_str())
            .collect()
    }

    /// The manager `levels` above a user (1 is their own manager). `Err` says where the chain ends or loops.
    pub fn manager_of(&self, user: &str, levels: u32) -> Result<UserName, String> {
        let mut seen = BTreeSet::from([user]);
        let mut at = self.users.get(user).ok_or_else(|| format!("there is no user `{user}`"))?;
        for _ in 0..levels.min(MANAGER_LEVELS_MAX) {
            let manager = at.manager.as_deref().ok_or_else(|| format!("user `{}` has no manager", at.name))?;
            if !seen.insert(manager) {
                return Err(format!("the managers above `{user}` form a loop at `{manager}`"));
            }
            at = self
                .users
                .get(manager)
                .ok_or_else(|| format!("`{manager}`, the manager of `{}`, is not in the directory", at.name))?;
        }
        Ok(UserName(at.name.clone()))
    }

    /// Checks what entries say of each other: names that exist, and groups without cycles.
    pub fn check(&self) -> Result<(), DirectoryError> {
        let names = self.users.keys().chain(self.groups.keys()).chain(self.queues.keys());
        for name in names {
            check_name(name)?;
        }
        for user in self.users.values() {
            if let Some(zone) = &user.time_zone {
                time_zone(zone).map_err(|why| DirectoryError::TimeZone { user: user.name.clone(), why })?;
            }
        }
        for group in self.groups.values() {
            self.check_names(&format!("group `{}`", group.name), &group.members, &group.groups)?;
        }
        for queue in self.queues.values() {
            self.check_names(&format!("queue `{}`", queue.name), &queue.members, &queue.groups)?;
        }
        for user in self.users.values() {
            if let Some(manager) = &user.manager
                && !self.users.contains_key(manager)
            {
                return Err(DirectoryError::Unknown {
                    holder: format!("user `{}`", user.name),
                    kind: "user",
                    name: manager.clone(),
                });
            }
        }
        for group in self.groups.keys() {
            self.check_cycle(group)?;
        }
        self.check_delegations()
    }

    fn check_delegations(&self) -> Result<(), DirectoryError> {
        let mut given: BTreeMap<&str, usize> = BTreeMap::new();
        for delegation in self.delegations.values() {
            check_delegation(delegation)?;
            let mut people = std::iter::once(delegation.from.as_str()).chain(delegation.delegates());
            if let Some(name) = people.find(|name| !self.users.contains_key(*name)) {
                let holder = format!("delegation `{}`", delegation.name);
                return Err(DirectoryError::Unknown { holder, kind: "user", name: name.to_owned() });
            }
            let given = given.entry(&delegation.from).or_default();
            *given += 1;
            if *given > DELEGATIONS_OF_USER_MAX {
                let why = format!(
                    "`{}` has given more than {DELEGATIONS_OF_USER_MAX}: delete those that have ended",
                    delegation.from
                );
                return Err(DirectoryError::Delegation { name: delegation.name.clone(), field: "from", why });
            }
        }
        Ok(())
    }

    fn check_names(
        &self,
        holder: &str,
        members: &BTreeSet<String>,
        groups: &BTreeSet<String>,
    ) -> Result<(), DirectoryError> {
        let unknown_user = members.iter().find(|name| !self.users.contains_key(*name)).map(|name| ("user", name));
        let unknown_group = groups.iter().find(|name| !self.groups.contains_key(*name)).map(|name| ("group", name));
        match unknown_user.or(unknown_group) {
            Some((kind, name)) => Err(DirectoryError::Unknown { holder: holder.to_owned(), kind, name: name.clone() }),
            None => Ok(()),
        }
    }

    fn check_cycle(&self, start: &str) -> Result<(), DirectoryError> {
        let mut seen = BTreeSet::new();
        let mut next: Vec<(&str, String)> = vec![(start, start.to_owned())];
        while let Some((name, path)) = next.pop() {
            for inner in self.groups.get(name).into_iter().flat_map(|group| &group.groups) {
                let path = format!("{path} > {inner}");
                if inner == start {
                    return Err(DirectoryError::GroupCycle { group: start.to_owned(), path });
                }
                if seen.insert(inner.as_str()) {
                    next.push((inner, path));
                }
            }
        }
        Ok(())
    }

    fn collect_members<'a>(&'a self, groups: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut members = BTreeSet::new();
        let mut next: Vec<&str> = groups.into_iter().collect();
        while let Some(name) = next.pop() {
            if seen.insert(name)
                && let Some(group) = self.groups.get(name)
            {
                members.extend(group.members.iter().map(String::as_str));
                next.extend(group.groups.iter().map(String::as_str));
            }
        }
        members
    }
}

/// The time zone of this name in the IANA database, as this version of Quorate carries it: not as a machine may have it.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| {
        let name: String = name.chars().take(64).collect();
        format!("`{name}` is no time zone of the IANA database, such as Europe/Berlin")
    })
}

/// Checks that a text can name a user, a group or a queue.
pub fn check_name(name: &str) -> Result<(), DirectoryError> {
    let sound = !name.is_empty()
        && name.chars().count() <= 128
        && !name.chars().any(|character| character.is_control() || character.is_whitespace());
    if sound { Ok(()) } else { Err(DirectoryError::BadName { name: name.chars().take(128).collect() }) }
}
