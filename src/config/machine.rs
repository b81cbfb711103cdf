//! Which cloud this machine belongs to, said in the variables that the clouds' own libraries honour: where the
//! metadata server is that knows the machine's identity.
//!
//! Only files are looked at. A metadata server that is not there would take its time to say so.

use std::collections::HashMap;
use std::path::Path;

/// Where Linux tells what the machine is.
pub const FIRMWARE: &str = "/sys/class/dmi/id";

/// Google's metadata server by name, and the address that all three share.
const GOOGLE_METADATA: &str = "metadata.google.internal";
const METADATA: &str = "http://169.254.169.254";
/// What Azure's virtual machines have in common.
const AZURE_ASSET: &str = "7783-7084-3265-9085-8269-3286-77";
/// Set where Google runs containers without showing a machine.
const CLOUD_RUN: [&str; 3] = ["K_SERVICE", "CLOUD_RUN_JOB", "GAE_ENV"];

/// Adds what the firmware says to the environment. What is set already stands.
pub fn complete(environment: &mut HashMap<String, String>, firmware: &Path) {
    let says = |name: &str| std::fs::read_to_string(firmware.join(name)).unwrap_or_default();
    let is_google = says("product_name").trim().starts_with("Google")
        || CLOUD_RUN.iter().any(|name| environment.contains_key(*name));
    let is_amazon = says("sys_vendor").contains("Amazon EC2") || says("product_version").contains("amazon");
    let is_azure = says("chassis_asset_tag").trim() == AZURE_ASSET;
    let found = [
        (is_google, "GCE_METADATA_HOST", GOOGLE_METADATA),
        (is_amazon, "AWS_EC2_METADATA_SERVICE_ENDPOINT", METADATA),
        (is_azure, "AZURE_POD_IDENTITY_AUTHORITY_HOST", METADATA),
    ];
    for (is_there, name, value) in found {
        if is_there {
            environment.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(files: &[(&str, &str)], set: &[(&str, &str)]) -> HashMap<String, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut environment =
            set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        complete(&mut environment, folder.path());
        environment
    }

    #[test]
    fn each_cloud_shows_itself() {
        assert!(completed(&[("product_name", "Some Laptop\n")], &[]).is_empty());
        let google = completed(&[("product_name", "Google Compute Engine\n")], &[]);
        assert_eq!(google["GCE_METADATA_HOST"], "metadata.google.internal");
        assert_eq!(completed(&[], &[("K_SERVICE", "x")])["GCE_METADATA_HOST"], "metadata.google.internal");
        let amazon = completed(&[("sys_vendor", "Amazon EC2\n")], &[]);
        assert_eq!(amazon["AWS_EC2_METADATA_SERVICE_ENDPOINT"], "http://169.254.169.254");
        let azure = completed(&[("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n")], &[]);
        assert_eq!(azure["AZURE_POD_IDENTITY_AUTHORITY_HOST"], "http://169.254.169.254");
    }

    #[test]
    fn what_is_set_stands() {
        let set = completed(&[("product_name", "Google\n")], &[("GCE_METADATA_HOST", "127.0.0.1:1")]);
        assert_eq!(set["GCE_METADATA_HOST"], "127.0.0.1:1");
    }
}
