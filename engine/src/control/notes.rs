//! Writes down what shards tell about subscriptions.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch::Receiver;

use super::ended;
use crate::subscriptions::{Store, Subscriptions, Word};

/// Longest wait at the end for a disk that does not answer. The files then are as they were: nothing is forgotten.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// Writes until `stopped`, and then the last words.
pub(super) async fn keep(store: Store, subscriptions: &Subscriptions, stopped: Receiver<bool>) {
    let store = Arc::new(Mutex::new(store));
    let listen = async {
        loop {
            subscriptions.told().await;
            write(&store, subscriptions.take()).await;
        }
    };
    tokio::select! {
        () = listen => {}
        () = ended(stopped) => {}
    }
    // The lock keeps this behind a write that is under way.
    if tokio::time::timeout(LAST_WRITE, write(&store, subscriptions.take())).await.is_err() {
        tracing::warn!("the state folder does not answer: the next start may subscribe everything again");
    }
}

async fn write(store: &Arc<Mutex<Store>>, words: Vec<(usize, Word)>) {
    let store = store.clone();
    let written = tokio::task::spawn_blocking(move || {
        store.lock().unwrap_or_else(PoisonError::into_inner).handle(words);
    });
    if let Err(error) = written.await {
        tracing::error!(%error, "subscriptions were not written down");
    }
}
