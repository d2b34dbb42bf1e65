//! The control plane: one ordinary thread outside the pinned set. It finds Kafka topics for the shards (`topics`)
//! and looks at what their confirmation is worth (`durability`), writes down what is subscribed (`notes`), watches what brokers drop (`watch`) and serves the admin endpoint; it never
//! touches the line.

mod durability;
mod notes;
mod topics;
mod watch;

use std::{net::TcpListener, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::watch::Receiver,
    task::{JoinSet, LocalSet},
};

use crate::{
    admin,
    kafka::{Resolver, Topics},
    metrics::Metrics,
    ring::Doorbell,
    settings::Settings,
    spool::Placement,
    subscriptions::{Store, Subscriptions},
};

/// How often the ledger is looked at.
const SAMPLE: Duration = Duration::from_secs(1);
/// Threads for what blocks: questions to Kafka, a file, names of brokers; and some for questions that are not awaited any more.
const BLOCKING: usize = 8;
/// Longest wait for an answer of librdkafka, which is longer than its own limits. Those are kept by the wall clock, so that
/// one that is set back meanwhile prolongs them by as much.
const ANSWER: Duration = Duration::from_secs(25);

/// What the control thread is made of.
pub(crate) struct Control {
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) doorbells: Arc<[Doorbell]>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) placement: Arc<Placement>,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) store: Store,
    pub(crate) listener: Option<TcpListener>,
    pub(crate) state: Arc<admin::State>,
    /// Becomes true when the thread should end: after the shards' end.
    pub(crate) stopped: Receiver<bool>,
}

impl Control {
    /// Runs until `stopped`.
    pub(crate) fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING).build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the control thread has no runtime: no admin endpoint, no new Kafka topics");
                return;
            }
        };
        LocalSet::new().block_on(&runtime, self.work());
        // A look-up that is under way must not hold up the end.
        runtime.shutdown_background();
    }

    async fn work(self) {
        let mut stopped = self.stopped.clone();
        let stop = ended(self.stopped.clone());
        let admin = async {
            match self.listener {
                Some(listener) => {
                    if let Err(error) = admin::serve(listener, self.state, stop).await {
                        tracing::error!(%error, "the admin endpoint ended");
                    }
                }
                None => sample(&self.state, stop).await,
            }
        };
        let finder = topics::Finder {
            metrics: &self.metrics,
            topics: &self.topics,
            resolver: &self.resolver,
            placement: &self.placement,
        };
        let line = async {
            tokio::select! {
                () = finder.run(&self.settings, &self.doorbells) => {}
                () = topics::probe(&self.metrics, &self.resolver) => {}
                () = durability::judge(&self.metrics, &self.resolver) => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        };
        let notes = notes::keep(self.store, &self.subscriptions, self.stopped.clone());
        let mut watches = JoinSet::new();
        for source in 0..self.settings.sources.len() {
            if let Some(watch) = watch::Watch::new(&self.settings, source, self.metrics.clone()) {
                watches.spawn_local(watch.run(self.stopped.clone()));
            }
        }
        let watches = async { while watches.join_next().await.is_some() {} };
        tokio::join!(admin, line, notes, watches);
    }
}

/// Runs what blocks away from this thread. `None` where it panics, or has not come back within [`ANSWER`]: then it is left
/// alone, and its answer is not awaited any more.
async fn ask<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::time::timeout(ANSWER, tokio::task::spawn_blocking(question)).await.ok()?.ok()
}

/// Resolves when the thread should end.
async fn ended(mut stopped: Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// Without the endpoint the ledger is looked at all the same.
async fn sample(state: &admin::State, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let mut second = tokio::time::interval(SAMPLE);
    loop {
        tokio::select! {
            () = &mut stop => return,
            _ = second.tick() => state.sample(),
        }
    }
}
