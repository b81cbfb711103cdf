//! Targets that are said to need no network, at an address that says otherwise.

use std::net::IpAddr;

use reqwest::Url;

use super::{Gateway, origin};
use crate::config::compile::Provider;
use crate::config::diagnostic::{Diagnostic, Location};
use crate::config::file::File;
use crate::providers::compatible::KINDS;

/// What is marked `offline` and stands on the internet.
pub(super) fn of_network(file: &File, gateway: &Gateway) -> Vec<Diagnostic> {
    let marked = |at: &Location, provider: &str| {
        let provider = gateway.direct.parts().providers.get(provider)?;
        let message = format!(
            "`{}` is said to need no network, and is called at {}",
            provider.name,
            origin(&provider.base_url)
        );
        let help =
            "`offline` is for servers on this machine, or on a network that does not fail with the internet";
        is_public(provider).then(|| Diagnostic::warning(at, message).help(help))
    };
    let providers = file.providers.0.iter().filter_map(|(name, provider)| {
        let offline = provider.offline.as_ref().filter(|offline| offline.value)?;
        marked(&offline.at, &name.0)
    });
    let targets = file.chains.0.values().flat_map(|chain| &chain.targets.0).filter_map(|target| {
        let offline = target.offline.as_ref().filter(|offline| offline.value)?;
        target.models().into_iter().find_map(|(model, _)| marked(&offline.at, &model.value.provider))
    });
    providers.chain(targets).collect()
}

/// Whether its address is certainly not one of its owner's own: a vendor's, a cloud's, or a public number.
fn is_public(provider: &Provider) -> bool {
    let place = origin(&provider.base_url);
    let is_local = |url: &str| host(url).is_some_and(|host| host == "localhost" || is_own(&host));
    let is_vendor = KINDS.iter().any(|kind| origin(kind.base_url) == place && !is_local(kind.base_url));
    let is_number =
        host(&provider.base_url).is_some_and(|host| host.parse::<IpAddr>().is_ok() && !is_own(&host));
    is_vendor || is_number || provider.kind.cloud().is_some()
}

/// Whether it is the number of a network that the internet does not lead to.
fn is_own(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(ip)) => {
            // 100.64.0.0/10 is where overlay networks live.
            let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0b1100_0000 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || is_shared
        }
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified()
        }
        Err(_) => false,
    }
}

fn host(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    Some(url.host_str()?.trim_matches(['[', ']']).to_owned())
}
