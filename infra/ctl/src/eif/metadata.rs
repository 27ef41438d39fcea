//! The metadata in an image. It is not measured: it is for people, and no program trusts it.

use serde::{Deserialize, Serialize};

/// The metadata section, as AWS's tools write and read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metadata {
    /// The name in `nitro.toml`.
    #[serde(rename = "ImageName")]
    pub image_name: String,
    /// Of the signer.
    #[serde(rename = "ImageVersion")]
    pub image_version: String,
    /// The tools that built the image.
    #[serde(rename = "BuildMetadata")]
    pub build: BuildMetadata,
    /// The part that AWS's tools copy from Docker.
    #[serde(rename = "DockerInfo")]
    pub docker_info: serde_json::Value,
    /// The part that an operator adds.
    #[serde(rename = "CustomMetadata")]
    pub custom: serde_json::Value,
}

/// The tools that built an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildMetadata {
    /// RFC 3339. Ours is always the beginning of time, or no two builds would be alike.
    #[serde(rename = "BuildTime")]
    pub time: String,
    /// The program.
    #[serde(rename = "BuildTool")]
    pub tool: String,
    /// Its version.
    #[serde(rename = "BuildToolVersion")]
    pub tool_version: String,
    /// Of the image.
    #[serde(rename = "OperatingSystem")]
    pub operating_system: String,
    /// As the kernel says of itself.
    #[serde(rename = "KernelVersion")]
    pub kernel_version: String,
}

impl Metadata {
    /// Of an image called `name` with the kernel of that version.
    #[must_use]
    pub fn of_build(name: &str, kernel_version: &str) -> Self {
        Self {
            image_name: name.to_owned(),
            image_version: env!("CARGO_PKG_VERSION").to_owned(),
            build: BuildMetadata {
                time: "1970-01-01T00:00:00+00:00".to_owned(),
                tool: env!("CARGO_PKG_NAME").to_owned(),
                tool_version: env!("CARGO_PKG_VERSION").to_owned(),
                operating_system: "Linux".to_owned(),
                kernel_version: kernel_version.to_owned(),
            },
            docker_info: serde_json::Value::Null,
            custom: serde_json::Value::Null,
        }
    }

    /// The section's content.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}
