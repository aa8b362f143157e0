//! A service: operations, each with a handler, performed for a node under one name (T15).

mod attachment;
mod memory;
mod request;
#[cfg(test)]
mod tests;

pub use attachment::Running;
pub use request::{Cancellation, Request};

use crate::{
    Tls,
    cxip::Password,
    reach::{Credentials, Door, within_reason},
    test,
};
use attachment::{Attachment, Options};
use hansa_core::{
    code::{Code, Fault},
    document::Text,
    ident::{OperationName, ServiceName},
    limit, offer,
};
use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

/// What a handler answers: the document, or why there is none.
pub type Answer = Result<Text, Fault>;

type Handler = Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// A service in the making: a name and operations, until it is attached to a node.
///
/// ```no_run
/// use hansa_sdk::{Request, Service, Text};
///
/// # async fn example() -> Result<(), hansa_sdk::Fault> {
/// let running = Service::new("credit")?
///     .operation("check-credit", |request: Request| async move {
///         let order = request.document().tree()?;
///         let small = order.root.attribute("total").is_some_and(|total| total.len() < 4);
///         Text::parse(format!("<Credit granted='{small}'/>").as_bytes())
///     })?
///     .attach("127.0.0.1:4000")
///     .await?;
/// // … until the process shall end:
/// running.stop().await;
/// # Ok(())
/// # }
/// ```
pub struct Service {
    name: ServiceName,
    handlers: BTreeMap<OperationName, Handler>,
    public: bool,
    credentials: Credentials,
    options: Options,
}

impl Service {
    /// A service of this name, without operations, known to its own organization only.
    ///
    /// # Errors
    /// The name is none.
    pub fn new(name: &str) -> Result<Self, Fault> {
        Ok(Self {
            name: name.parse()?,
            handlers: BTreeMap::new(),
            public: false,
            credentials: Credentials::default(),
            options: Options { credit: 256, patience: Duration::ZERO, stop_withdrawn: false },
        })
    }

    /// Sign up for an operation. The handler runs as a task of its own for each request, so several run at once. A panic of
    /// it fails that request and nothing else. A fault that it returns best has the code [`Code::OperationFailed`].
    ///
    /// # Errors
    /// The name is none, or the service has it already, or too many.
    pub fn operation<H, F>(mut self, name: &str, handler: H) -> Result<Self, Fault>
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let name: OperationName = name.parse()?;
        if self.handlers.len() == limit::SERVICE_OPERATIONS_MAX {
            let message = format!("the service {} has {} operations already", self.name, limit::SERVICE_OPERATIONS_MAX);
            return Err(Fault::new(Code::LimitReached, message));
        }
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        if self.handlers.insert(name.clone(), handler).is_some() {
            let message = format!("the service {} has two handlers for the operation {name}", self.name);
            return Err(Fault::new(Code::ServiceConflict, message).help("give each operation one handler"));
        }
        Ok(self)
    }

    /// Whether the federation may know it (F5).
    #[must_use]
    pub fn public(mut self, public: bool) -> Self {
        self.public = public;
        self
    }

    /// How many requests are at work at once, 1 to 4,096; the rest wait at the node. 256 unless said otherwise.
    #[must_use]
    pub fn credit(mut self, credit: u32) -> Self {
        self.options.credit = credit.clamp(1, limit::SESSION_CREDIT_MAX);
        self
    }

    /// Whether a handler is dropped, at its next `await`, when nobody waits for its answer any more. Unless said otherwise
    /// it is told by [`Request::cancellation`] and runs on.
    #[must_use]
    pub fn stop_withdrawn(mut self, stop_withdrawn: bool) -> Self {
        self.options.stop_withdrawn = stop_withdrawn;
        self
    }

    /// What proves to the node that the service may attach, where the node asks for that.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.credentials.password = Some(Password(password.into()));
        self
    }

    /// The account that it comes as, where the node has accounts and none of its name.
    ///
    /// # Errors
    /// The name is none.
    pub fn account(mut self, name: &str) -> Result<Self, Fault> {
        self.credentials.account = Some(name.parse()?);
        Ok(self)
    }

    /// Speak TLS with the node (T14).
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.credentials.tls = Some(tls);
        self
    }

    /// After how long without a sign of life from the node the connection is given up and made again: between 300 milliseconds and
    /// 30 seconds. Unless said otherwise some 3 seconds where several addresses are known, and else 30.
    #[must_use]
    pub fn silence_max(mut self, silence_max: Duration) -> Self {
        self.credentials.silence_max = Some(within_reason(silence_max));
        self
    }

    /// How long [`Service::attach`] waits for a node that does not answer yet. Not at all unless said otherwise.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.options.patience = patience;
        self
    }

    /// Attach to the node that listens at `address` (host and port) and perform what it asks, in the background, until
    /// [`Running::stop`]. A connection that breaks is made again without end. Of a node whose sub-nodes are a pair, both
    /// addresses may be given, with a comma between; the active one is found, now and after it changed.
    ///
    /// # Errors
    /// No node answers, or it refuses the service.
    pub async fn attach(self, address: &str) -> Result<Running, Fault> {
        self.attach_over(address, None).await
    }

    /// Attach to a node in memory, in a test.
    ///
    /// # Errors
    /// The node is stopped, or refuses the service.
    pub async fn attach_to(self, node: &test::Node) -> Result<Running, Fault> {
        self.attach_over("memory", Some(node.pipe())).await
    }

    async fn attach_over(self, address: &str, pipe: Option<test::Pipe>) -> Result<Running, Fault> {
        let door = Door::at(address, self.name.to_string(), self.credentials, pipe);
        let offer = offer::Service {
            name: self.name,
            operations: self.handlers.keys().cloned().collect(),
            public: self.public,
        };
        Attachment::begin(door, offer, self.handlers, self.options).await
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operations: Vec<_> = self.handlers.keys().collect();
        out.debug_struct("Service").field("name", &self.name).field("operations", &operations).finish_non_exhaustive()
    }
}
