//! SIGHUP, with many clients connected: how long one of them waits for an answer.

use std::time::Duration;

use super::control::{Door, Listener, Running};
use super::harness::{Crowd, reloads};
use super::population::{Member, Population};

pub(crate) const RELOADS: usize = 3;
/// So many devices have the sessions.
const DEVICES: usize = 100;

/// The longest ping without a SIGHUP, and around some of them, of one among so many sessions.
pub(crate) fn longest_pings(
    running: &Running,
    population: &Population,
    listener: Listener,
    sessions: usize,
) -> (Duration, Duration) {
    // Each has several sessions: a thousand first logins would take longer than a session may be silent.
    let step = (population.members.len() / DEVICES).max(1);
    let members: Vec<&Member> = population.members.iter().step_by(step).collect();
    let doors: Vec<Door> = members.iter().map(|member| Door::new(member, listener)).collect();
    let come = |number: usize| {
        let which = number % doors.len();
        running.admit(&doors[which], &format!("{}-{number}", members[which].name))
    };
    (0..doors.len()).for_each(|number| come(number).disconnect());
    let mut crowd = Crowd::new((0..sessions).map(come));
    let pings = reloads(&running.broker, &mut crowd, RELOADS);
    assert_eq!(crowd.connected(), sessions, "{:?}: everybody is still there", running.control);
    pings
}
