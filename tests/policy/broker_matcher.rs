//! The broker's own ideas of names, filters and matching, asked of its library.
#![expect(unsafe_code, reason = "the library of the broker is C")]

use std::ffi::{CString, c_char, c_int};

use libloading::{Library, Symbol};

const SUCCESS: c_int = 0;

/// `libmosquitto.so.1`. The functions used here are pure and need no initialisation of the library.
pub(crate) struct BrokerMatcher(Library);

type MatchesSub = unsafe extern "C" fn(*const c_char, *const c_char, *mut bool) -> c_int;
type Check = unsafe extern "C" fn(*const c_char) -> c_int;

impl BrokerMatcher {
    pub(crate) fn open() -> Self {
        // SAFETY: the initialisers of Debian's libmosquitto and of what it links (OpenSSL) may run at any time and on any
        // thread.
        let library = unsafe { Library::new("libmosquitto.so.1") };
        Self(library.unwrap_or_else(|error| panic!("{error}; type: apt-get install libmosquitto1")))
    }

    pub(crate) fn matches(&self, filter: &str, topic: &str) -> bool {
        let (filter, topic) = (CString::new(filter).unwrap(), CString::new(topic).unwrap());
        let mut result = false;
        // SAFETY: this is the signature in mosquitto.h, the same in 2.0 and 2.1.
        let matches: Symbol<'_, MatchesSub> = unsafe { self.0.get("mosquitto_topic_matches_sub") }.unwrap();
        // SAFETY: both strings end in NUL and outlive the call, which keeps neither, and `result` can be written to.
        let code = unsafe { matches(filter.as_ptr(), topic.as_ptr(), &raw mut result) };
        assert_eq!(code, SUCCESS, "mosquitto_topic_matches_sub({filter:?}, {topic:?})");
        result
    }

    pub(crate) fn takes_name(&self, name: &str) -> bool {
        self.check("mosquitto_pub_topic_check", name)
    }

    pub(crate) fn takes_filter(&self, filter: &str) -> bool {
        self.check("mosquitto_sub_topic_check", filter)
    }

    fn check(&self, function: &str, text: &str) -> bool {
        let text = CString::new(text).unwrap();
        // SAFETY: this is the signature of both checks in mosquitto.h, the same in 2.0 and 2.1.
        let check: Symbol<'_, Check> = unsafe { self.0.get(function) }.unwrap();
        // SAFETY: the string ends in NUL and outlives the call, which does not keep it.
        unsafe { check(text.as_ptr()) == SUCCESS }
    }
}
