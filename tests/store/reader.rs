//! A reader of a feed, and what it has come to know.

use std::collections::BTreeMap;
use std::sync::Arc;

use mosquitto_warden::policy::device::{DeviceId, DeviceStatus, SharedDevice};
use mosquitto_warden::store::feed::{Feed, Update};

use crate::Fresh;

/// A reader that applies what it is told.
pub(crate) struct Reader {
    pub(crate) feed: Feed,
    pub(crate) devices: BTreeMap<DeviceId, SharedDevice>,
    /// How often it was told everything.
    pub(crate) whole: usize,
}

impl Reader {
    pub(crate) async fn new(fresh: &Fresh) -> Self {
        let mut reader =
            Self { feed: Feed::open_again(&fresh.database).await.unwrap(), devices: BTreeMap::new(), whole: 0 };
        reader.update().await;
        reader
    }

    /// Which devices were named; none for everything.
    pub(crate) async fn update(&mut self) -> Vec<DeviceId> {
        match self.feed.update().await.unwrap() {
            Update::Nothing => Vec::new(),
            Update::Everything(all) => {
                self.devices = all.devices.into_iter().map(|device| (device.id, device)).collect();
                self.whole += 1;
                Vec::new()
            }
            Update::Changes(changes) => {
                let named = changes.devices.iter().map(|(id, _)| *id).collect();
                for (id, device) in changes.devices {
                    match device {
                        Some(device) => self.devices.insert(id, Arc::new(device)),
                        None => self.devices.remove(&id),
                    };
                }
                named
            }
        }
    }

    pub(crate) fn status(&self, id: DeviceId) -> Option<DeviceStatus> {
        self.devices.get(&id).map(|device| device.status)
    }

    pub(crate) async fn is_as_a_fresh_one(&mut self, fresh: &Fresh) {
        self.update().await;
        let other = Self::new(fresh).await;
        assert_eq!(self.devices, other.devices);
    }
}
