//! Directories.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Place, Text, graph};
use crate::{
    definition::{DirectoryDocument, source},
    delegation::{Moment, NewDelegation},
    directory::{Group, Queue, User, check_name, time_zone},
    expression::Type,
};

impl Checker<'_> {
    pub(super) fn directory(&mut self, source: source::Directory) -> DirectoryDocument {
        self.distinct(source.users.iter().map(|user| &user.name), "users", "user");
        self.distinct(source.groups.iter().map(|group| &group.name), "groups", "group");
        self.distinct(source.queues.iter().map(|queue| &queue.name), "queues", "queue");
        self.group_cycle(&source.groups);
        let users = (source.users.into_iter().enumerate())
            .map(|(index, user)| User {
                manager: user.manager.map(|manager| self.person(&manager, &format!("users[{index}].manager"))),
                name: user.name.value,
                active: user.active.unwrap_or(true),
                email: user.email.map(|email| email.value),
                time_zone: user.time_zone.map(|zone| self.time_zone(&zone, &format!("users[{index}].time_zone"))),
            })
            .collect();
        let groups = (source.groups.into_iter().enumerate())
            .map(|(index, group)| Group {
                members: self.people(&group.members, &format!("groups[{index}].members")),
                groups: self.people(&group.groups, &format!("groups[{index}].groups")),
                name: group.name.value,
            })
            .collect();
        let queues = (source.queues.into_iter().enumerate())
            .map(|(index, queue)| Queue {
                members: self.people(&queue.members, &format!("queues[{index}].members")),
                groups: self.people(&queue.groups, &format!("queues[{index}].groups")),
                name: queue.name.value,
            })
            .collect();
        let delegations = self.delegations(source.delegations);
        DirectoryDocument { users, groups, queues, delegations }
    }

    /// What is wrong with a delegation by itself. Its window needs the time zone of a user who may be in the directory only, so
    /// that [`NewDelegation::resolve`] looks at it.
    fn delegations(&mut self, delegations: Vec<source::Delegation>) -> Vec<NewDelegation> {
        self.scope = super::summary_scope(&Type::Dyn);
        let mut named: BTreeMap<String, Place> = BTreeMap::new();
        let mut read = Vec::new();
        for (index, delegation) in delegations.into_iter().enumerate() {
            let path = |field: &str| format!("delegations[{index}].{field}");
            if let Some(name) = &delegation.name {
                self.person(name, &path("name"));
                if let Some(first) = named.insert(name.value.clone(), name.into()) {
                    let message =
                        format!("there is another delegation `{}`, at {}:{}", name.value, first.line, first.column);
                    self.error(name, &path("name"), message);
                }
            }
            let from = self.person(&delegation.from, &path("from"));
            let to = self.person(&delegation.to, &path("to"));
            let start = self.moment(&delegation.start, &path("start"));
            let end = self.moment(&delegation.end, &path("end"));
            let time_zone = delegation.time_zone.map(|zone| self.time_zone(&zone, &path("time_zone")));
            let when = delegation.when.and_then(|when| self.condition(&when, &path("when")));
            let (Some(start), Some(end)) = (start, end) else { continue };
            read.push(NewDelegation {
                name: delegation.name.map(|name| name.value),
                from,
                to,
                start,
                end,
                time_zone,
                processes: self.people(&delegation.processes, &path("processes")),
                when,
                alternates: (delegation.alternates.iter().enumerate())
                    .map(|(place, name)| self.person(name, &format!("{}[{place}]", path("alternates"))))
                    .collect(),
            });
        }
        read
    }

    fn moment(&mut self, text: &Text, path: &str) -> Option<Moment> {
        Moment::parse(&text.value).map_err(|why| self.error(text, path, why)).ok()
    }

    fn time_zone(&mut self, name: &Text, path: &str) -> String {
        if let Err(why) = time_zone(&name.value) {
            self.error(name, path, why);
        }
        name.value.clone()
    }

    fn distinct<'s>(&mut self, names: impl Iterator<Item = &'s Text>, path: &str, what: &str) {
        let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
        for (index, name) in names.enumerate() {
            let path = format!("{path}[{index}].name");
            self.person(name, &path);
            if let Some(first) = seen.insert(&name.value, name.into()) {
                let message = format!("there is another {what} `{}`, at {}:{}", name.value, first.line, first.column);
                self.error(name, &path, message);
            }
        }
    }

    fn people(&mut self, names: &[Text], path: &str) -> BTreeSet<String> {
        (names.iter().enumerate()).map(|(index, name)| self.person(name, &format!("{path}[{index}]"))).collect()
    }

    fn person(&mut self, name: &Text, path: &str) -> String {
        if let Err(error) = check_name(&name.value) {
            self.error(name, path, error.to_string());
        }
        name.value.clone()
    }

    fn group_cycle(&mut self, groups: &[source::Team]) {
        let edges: BTreeMap<&str, Vec<&str>> = groups
            .iter()
            .map(|group| (group.name.value.as_str(), group.groups.iter().map(|inner| inner.value.as_str()).collect()))
            .collect();
        let Some((name, way)) = graph::find_cycle(&edges) else { return };
        if let Some((index, group)) = groups.iter().enumerate().find(|(_, group)| group.name.value == name) {
            self.error(
                &group.name,
                &format!("groups[{index}].groups"),
                format!("the group would contain itself: {way}"),
            );
        }
    }
}
