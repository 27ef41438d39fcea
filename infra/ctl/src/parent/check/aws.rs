//! Reads the key, the security groups and the trails with the AWS CLI.

use std::time::Duration;

use serde::Deserialize;

use crate::parent::machine::{Call, Machine, NotRun};
use crate::printable::{MAX_WORDS_CHARS, printable};

/// It asks a service of AWS, perhaps with retries.
const TIMEOUT: Duration = Duration::from_secs(60);

/// `aws` of one machine.
pub(super) struct Aws<'a> {
    machine: &'a Machine,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SecurityGroups {
    security_groups: Vec<SecurityGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SecurityGroup {
    group_id: String,
    ip_permissions: Vec<IpPermission>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IpPermission {
    /// `tcp`, or `-1` for all.
    ip_protocol: String,
    from_port: Option<i32>,
    to_port: Option<i32>,
    #[serde(default)]
    ip_ranges: Vec<IpRange>,
    #[serde(default)]
    ipv6_ranges: Vec<Ipv6Range>,
}

#[derive(Deserialize)]
struct IpRange {
    #[serde(rename = "CidrIp")]
    cidr: String,
}

#[derive(Deserialize)]
struct Ipv6Range {
    #[serde(rename = "CidrIpv6")]
    cidr: String,
}

#[derive(Deserialize)]
struct Trails {
    #[serde(rename = "trailList")]
    trails: Vec<serde_json::Value>,
}

impl<'a> Aws<'a> {
    pub(super) const fn new(machine: &'a Machine) -> Self {
        Self { machine }
    }

    /// The ARN of the role whose credentials are used, as `arn:aws:sts::ACCOUNT:assumed-role/ROLE/INSTANCE`.
    pub(super) fn role(&self) -> Option<String> {
        let text = self.run(&["sts", "get-caller-identity", "--query", "Arn", "--output", "text"]).ok()?;
        let arn = text.trim();
        arn.contains(":assumed-role/").then(|| arn.to_owned())
    }

    pub(super) fn key_policy(&self, arn: &str, region: &str) -> Result<String, String> {
        let mut arguments = vec!["kms", "get-key-policy", "--key-id", arn, "--policy-name", "default"];
        arguments.extend(["--region", region, "--query", "Policy", "--output", "text"]);
        self.run(&arguments)
    }

    /// Those of `groups` that open `port` to every address.
    pub(super) fn open_groups<'g>(
        &self,
        groups: impl Iterator<Item = &'g str>,
        port: u16,
        region: &'g str,
    ) -> Result<Vec<String>, String> {
        let mut arguments = vec!["ec2", "describe-security-groups", "--region", region, "--output", "json"];
        arguments.push("--group-ids");
        arguments.extend(groups);
        let SecurityGroups { security_groups } = self.json(&arguments, "an object with SecurityGroups")?;
        let mut open = Vec::new();
        for group in &security_groups {
            for permission in group.ip_permissions.iter().filter(|it| it.covers(port)) {
                let ranges = permission.ip_ranges.iter().map(|range| &range.cidr);
                let ranges = ranges.chain(permission.ipv6_ranges.iter().map(|range| &range.cidr));
                let everywhere = ranges.filter(|cidr| matches!(cidr.as_str(), "0.0.0.0/0" | "::/0"));
                open.extend(everywhere.map(|cidr| format!("{} lets {cidr} reach it", group.group_id)));
            }
        }
        Ok(open)
    }

    /// How many trails there are.
    pub(super) fn trails(&self, region: &str) -> Result<usize, String> {
        let arguments = ["cloudtrail", "describe-trails", "--region", region, "--output", "json"];
        let Trails { trails } = self.json(&arguments, "an object with a trailList")?;
        Ok(trails.len())
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, arguments: &[&str], wanted: &str) -> Result<T, String> {
        let text = self.run(arguments)?;
        let call = arguments[..2].join(" ");
        serde_json::from_str(&text).map_err(|_| format!("aws {call}: expected {wanted}, got another text"))
    }

    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let name = arguments[..2].join(" ");
        match self.machine.run(&Call::new("aws", arguments, TIMEOUT)) {
            Ok(ended) if ended.status == 0 => Ok(ended.stdout),
            Ok(ended) => {
                // The last line says why.
                let why = ended.stderr.trim().lines().last().unwrap_or_default();
                Err(format!("aws {name}: exit status {}: {}", ended.status, printable(why, MAX_WORDS_CHARS)))
            }
            Err(NotRun::Missing) => Err("the program aws is not installed".to_owned()),
            Err(error) => Err(format!("aws {name}: {error}")),
        }
    }
}

impl IpPermission {
    fn covers(&self, port: u16) -> bool {
        let port = i32::from(port);
        let is_in_range = || {
            self.from_port.is_some_and(|first| first <= port) && self.to_port.is_some_and(|last| port <= last)
        };
        self.ip_protocol == "-1" || self.ip_protocol == "tcp" && is_in_range()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parent::machine::{Commands, Ended};

    const GROUPS: &str = include_str!("../../../../tests/transcripts/aws-cli/describe-security-groups.json");
    const TRAILS: &str = include_str!("../../../../tests/transcripts/aws-cli/describe-trails.json");

    /// An `aws` that ends like this each time.
    struct Always(Ended);

    impl Commands for Always {
        fn run(&self, _: &Call) -> Result<Ended, NotRun> {
            Ok(self.0.clone())
        }
    }

    fn machine(stdout: &str) -> Machine {
        Machine::new("/nowhere".into(), Box::new(Always(Ended { stdout: stdout.into(), ..Ended::default() })))
    }

    fn open(text: &str, port: u16) -> Result<Vec<String>, String> {
        Aws::new(&machine(text)).open_groups(["sg-903004f8"].into_iter(), port, "us-east-1")
    }

    #[test]
    fn a_group_is_open_where_a_rule_for_the_port_lets_everybody_in() {
        assert_eq!(open(GROUPS, 22), Ok(vec![]));
        let everybody = GROUPS.replace("203.0.113.0/24", "0.0.0.0/0");
        assert_eq!(open(&everybody, 22), Ok(vec!["sg-903004f8 lets 0.0.0.0/0 reach it".to_owned()]));
        assert_eq!(open(&everybody, 7001), Ok(vec![]));
        let every_port = everybody.replace("\"tcp\"", "\"-1\"").replace("\"FromPort\": 22,", "");
        assert_eq!(open(&every_port, 7001).unwrap().len(), 1);
        let range = "\"IpRanges\": [], \"Ipv6Ranges\": [{ \"CidrIpv6\": \"::/0\" }]";
        let version_6 = GROUPS.replacen("\"IpRanges\": []", range, 1);
        assert_eq!(open(&version_6, 7001), Ok(vec!["sg-903004f8 lets ::/0 reach it".to_owned()]));
    }

    #[test]
    fn trails_are_counted() {
        assert_eq!(Aws::new(&machine(TRAILS)).trails("us-east-1"), Ok(2));
        assert_eq!(Aws::new(&machine(r#"{"trailList":[]}"#)).trails("us-east-1"), Ok(0));
    }

    #[test]
    fn an_answer_that_is_cut_off_or_another_names_the_command() {
        for (text, end) in [(GROUPS, GROUPS.trim_end().len()), (TRAILS, TRAILS.trim_end().len())] {
            for length in 0..end {
                let cut = machine(&text[..length]);
                assert!(open(&text[..length], 22).is_err(), "{length}");
                assert!(Aws::new(&cut).trails("us-east-1").is_err(), "{length}");
            }
        }
        let error = open("<html></html>", 22).unwrap_err();
        assert_eq!(
            error,
            "aws ec2 describe-security-groups: expected an object with SecurityGroups, got another text"
        );
    }

    #[test]
    fn a_refusal_is_repeated() {
        let stderr =
            "\nAn error occurred (UnauthorizedOperation) when calling the DescribeTrails operation\n";
        let refused = Ended { status: 254, stderr: stderr.into(), ..Ended::default() };
        let machine = Machine::new("/nowhere".into(), Box::new(Always(refused)));
        let error = Aws::new(&machine).trails("us-east-1").unwrap_err();
        assert!(error.starts_with("aws cloudtrail describe-trails: exit status 254: An error"), "{error}");
    }

    #[test]
    fn only_a_role_is_a_role() {
        let role = "arn:aws:sts::123456789012:assumed-role/nitro-signer-instance/i-0123456789abcdef0\n";
        assert_eq!(Aws::new(&machine(role)).role().as_deref(), Some(role.trim()));
        assert_eq!(Aws::new(&machine("arn:aws:iam::123456789012:user/DevAdmin\n")).role(), None);
    }
}
