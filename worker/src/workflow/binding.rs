//! Secrets that go to some hosts only.

use std::collections::BTreeMap;

/// The hosts of secrets that are bound; the others go wherever a flow sends them.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings(BTreeMap<String, Vec<String>>);

impl Bindings {
    pub(super) fn bind(&mut self, secret: &str, host: &str) {
        self.0.entry(folded(secret)).or_default().push(host.to_owned());
    }

    /// The first of these secrets that does not go to this host.
    pub(super) fn refuse<'s>(&self, secrets: &'s [String], host: &str) -> Option<&'s str> {
        let is_bound_elsewhere = |secret: &&String| {
            self.0.get(&folded(secret)).is_some_and(|hosts| !hosts.iter().any(|known| known.eq_ignore_ascii_case(host)))
        };
        secrets.iter().find(is_bound_elsewhere).map(String::as_str)
    }
}

/// Names that are the same variable of the environment, or the same file where a file system does not tell letters apart, are one
/// secret: a binding holds for all ways to write it.
fn folded(secret: &str) -> String {
    secret.to_ascii_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_secret_goes_to_its_hosts_only_however_it_is_written() {
        let mut bindings = Bindings::default();
        bindings.bind("erp_token", "erp.example.com");
        bindings.bind("erp_token", "erp2.example.com");
        let refused =
            |secret: &str, host: &str| bindings.refuse(&["free".to_owned(), secret.to_owned()], host).is_some();
        for (secret, host) in
            [("erp_token", "erp.example.com"), ("erp_token", "ERP2.example.com"), ("other", "example.com")]
        {
            assert!(!refused(secret, host), "{secret} {host}");
        }
        for (secret, host) in [
            ("erp_token", "example.com"),
            ("erp_token", "erp.example.com.evil.example"),
            ("erp_token", "evil.erp.example.com"),
            ("erp-token", "example.com"),
            ("ERP_Token", "example.com"),
        ] {
            assert!(refused(secret, host), "{secret} {host}");
        }
    }
}
