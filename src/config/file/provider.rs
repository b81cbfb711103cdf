//! `[providers.X]`: an upstream and how it is reached.

use super::policy::{BreakerSetting, ClassName};
use crate::config::diagnostic::Located;
use crate::config::name::{Api, ApiVersion, BaseUrl, HeaderName, Kind, Pattern, Place, Tag};
use crate::config::reader::Named;
use crate::config::secret::{CredentialsFile, Indirect, SecretRefs};
use crate::config::section::section;
use crate::config::value::Factor;

section! {
    /// An upstream and how it is reached.
    #[derive(Default)]
    pub struct Provider in "a provider" {
        optional {
            /// The wire format ("openai", "anthropic", "gemini") or the vendor. Default: the provider's name.
            kind: Kind,
            /// Where the API is. Its path is the API's prefix; without a path, the usual one of the kind.
            /// Default: the vendor's address.
            base_url: BaseUrl,
            /// The credential, best as "env:NAME" or "file:PATH". Of a list, each request takes another one. Default:
            /// the vendor's usual environment variable.
            api_key: SecretRefs,
            /// Which of the kind's APIs is called. Bedrock: "invoke", the models' own formats instead of Converse.
            api: Api,
            /// The version of the API, for Azure's classic and Foundry addresses.
            api_version: ApiVersion,
            /// Vertex: the Google Cloud project. Default: the environment's (GOOGLE_CLOUD_PROJECT), or that of the
            /// service account.
            project: Place,
            /// Vertex: where the models run, e.g. "us-central1", "eu" or "global". Default: the environment's
            /// (GOOGLE_CLOUD_LOCATION), or "global".
            location: Place,
            /// Bedrock: where the models run, e.g. "us-east-1". Default: the environment's (AWS_REGION), or that of
            /// the profile.
            region: Place,
            /// The credential's own file, as "file:PATH". Vertex: the JSON of a service account or of a user.
            /// Bedrock: a credentials file of AWS's. Default: what the cloud's own tools would use.
            credentials: CredentialsFile,
            /// Headers for every request to this provider. A value may be "env:NAME" or "file:PATH".
            headers: Named<HeaderName, Indirect>,
            /// URL of an HTTP proxy, or where it is ("env:NAME"). Default: the environment's proxy.
            proxy: Indirect,
            /// Whether it needs no network but this machine's own: its models are never called by way of a proxy, have the
            /// tag "offline", and are gone to at once where the network is down. Default: false.
            offline: bool,
            /// What the provider's prices are times the catalog's: an aggregator's markup. Default: 1.
            price_factor: Factor,
            /// Regular expressions, by class of failure, for error messages that Piton does not know.
            patterns: Named<ClassName, Vec<Located<Pattern>>>,
            /// When this provider's targets are left alone for a while after failures.
            breaker: BreakerSetting,
            /// Marks of your own for all its models that a chain may `require`, such as "eu".
            tags: Vec<Located<Tag>>,
        }
    }
}
