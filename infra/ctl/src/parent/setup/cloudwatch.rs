//! The log in CloudWatch, by AWS's agent, which reads files only.

use serde_json::json;

use super::Setup;
use crate::parent::failed::Failed;

/// The file that nitro-logs.service writes and the agent reads.
const LOG_FILE: &str = "/var/log/nitro-signer/signer.log";

const AGENT_CONTROL: &str = "/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl";

const LOGROTATE: &str = "\
# Written by setup-parent.sh. The file is copied and cut, because nitro-logs.service keeps it open.
/var/log/nitro-signer/signer.log {
    size 50M
    rotate 2
    missingok
    notifempty
    copytruncate
}
";

impl Setup<'_> {
    pub(super) fn send_log_to_cloudwatch(&self, log_group: &str) -> Result<(), Failed> {
        let logrotate = self.machine.path("/etc/logrotate.d/nitro-signer");
        self.actor.put(LOGROTATE.as_bytes(), &logrotate, 0o644)?;
        let place = self.machine.path("/etc/nitro-signer/cloudwatch.json");
        if !self.actor.put(configuration(log_group).as_bytes(), &place, 0o644)? {
            return Ok(());
        }
        let control = self.machine.path(AGENT_CONTROL);
        let file = format!("file:{}", place.display());
        let arguments = ["-a", "append-config", "-m", "ec2", "-s", "-c", &file];
        self.actor.run(control, arguments).map_err(|failed| {
            // Or else the next run would find nothing to do.
            self.actor.remove(&place);
            Failed::new(
                failed.kind,
                format_args!("amazon-cloudwatch-agent does not take its configuration: {failed}"),
            )
        })
    }
}

fn configuration(log_group: &str) -> String {
    let file = json!({
        "file_path": LOG_FILE,
        "log_group_name": log_group,
        "log_stream_name": "{instance_id}",
    });
    format!("{:#}\n", json!({ "logs": { "logs_collected": { "files": { "collect_list": [file] } } } }))
}
