//! Which of a vendor's surfaces is called: some have several for the same models.

/// What the owner chose, and what follows from the address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surface {
    /// `None`: the usual one of the kind.
    pub api: Option<Api>,
    /// The version that the address is asked for, e.g. `2024-10-21`.
    pub api_version: Option<String>,
}

/// An API beside the usual one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Bedrock: the model's own format by InvokeModel, instead of Converse.
    Invoke,
    /// Azure: the deployment stands in the path, and the version in the query.
    Deployments,
    /// Azure: models of every publisher behind one path, with the version in the query.
    Models,
}
