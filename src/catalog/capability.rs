//! What a model can do: a set of yes-or-no facts, and what the catalog or the configuration says about them.

use serde::Deserialize;

/// One list of the capabilities makes the set, its partial form and the names, so that none is forgotten in one.
macro_rules! capabilities {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a model can do. A fact that nobody knows is assumed: the upstream then decides.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Capabilities {
            $($(#[doc = $doc])+ pub $name: bool,)+
        }

        /// The capabilities that are said to be there or not; the others stay as they are.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct PartialCapabilities {
            $($(#[doc = $doc])+ pub $name: Option<bool>,)+
        }

        impl Capabilities {
            /// Able to do everything.
            pub const ALL: Self = Self { $($name: true,)+ };

            /// The names of the capabilities that are missing, as the configuration spells them.
            pub fn missing(&self) -> impl Iterator<Item = &'static str> {
                [$((stringify!($name), self.$name),)+]
                    .into_iter()
                    .filter_map(|(name, able)| (!able).then_some(name))
            }
        }

        impl PartialCapabilities {
            /// Puts what is said here over `capabilities`.
            pub fn apply(&self, capabilities: &mut Capabilities) {
                $(if let Some(able) = self.$name { capabilities.$name = able; })+
            }
        }
    };
}

capabilities! {
    /// Calls the functions that it is offered.
    tools,
    /// Calls several in one turn.
    parallel_tools,
    /// Takes images.
    vision,
    /// Takes audio.
    audio,
    /// Takes PDF files.
    documents,
    /// Can be held to JSON of any shape.
    json_mode,
    /// Can be held to a JSON Schema.
    json_schema,
    /// Thinks before it answers, if asked.
    reasoning,
    /// Tells the probabilities of its tokens.
    logprobs,
    /// Gives several answers to one request.
    n,
    /// Streams its answer.
    streaming,
    /// Takes a conversation that ends with the beginning of its own answer.
    prefill,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let said: PartialCapabilities = toml::from_str("tools = false\nn = true").unwrap();
        let mut capabilities = Capabilities { n: false, audio: false, ..Capabilities::ALL };
        said.apply(&mut capabilities);
        assert_eq!(capabilities, Capabilities { tools: false, audio: false, ..Capabilities::ALL });
        assert_eq!(capabilities.missing().collect::<Vec<_>>(), ["tools", "audio"]);
    }

    #[test]
    fn a_capability_that_does_not_exist_is_an_error() {
        let error = toml::from_str::<PartialCapabilities>("visoin = true").unwrap_err();
        assert!(error.message().contains("visoin"), "{error}");
    }
}
