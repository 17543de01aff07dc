//! Directories.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Place, Text, graph};
use crate::{
    definition::{DirectoryDocument, source},
    directory::{Group, Queue, User, check_name},
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
        DirectoryDocument { users, groups, queues }
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
