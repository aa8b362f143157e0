//! The follower's side of [`super`]: it takes what was announced and no byte more, if there is room for it, and tells the pair's
//! machine when all of it is there and is what was announced.

use super::{PART_BYTES_MAX, Parcel, Progress, RECEIVED, Stage};
use crate::{
    clock,
    duties::{Happening, desk::Desk},
    snapshot::{self, FORMAT, Label, Received},
};
use hansa_core::{
    code::{Code, Fault},
    mirror::{History, Message, pair},
    moment::Moment,
};
use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

/// How long nothing may come, at least, before it is asked for again.
const PAUSE_MS_MIN: u64 = 1_000;
/// How often that pause doubles.
const UNANSWERED_MAX: u32 = 5;
/// How often it is said that a snapshot which is being put in place is still wanted, and may be that what comes behind it.
const WANTED_MS: u64 = 5_000;
/// How many times its size must be free: for the file, and for the store that it becomes.
const ROOM: u64 = 2;
/// Bytes that must be free besides, for everything else that the node does.
const ROOM_LEFT_BYTES: u64 = 64 * 1024 * 1024;

/// See above.
pub(in crate::duties) struct Receiving {
    folder: PathBuf,
    coming: Option<Coming>,
    /// There was no room for the last that was offered.
    no_room: Option<Label>,
}

/// Which question a snapshot answers.
pub(super) struct Question {
    pub(super) epoch: u64,
    pub(super) nonce: u64,
    pub(super) history: History,
}

struct Coming {
    answers: Question,
    label: Label,
    file: File,
    hasher: blake3::Hasher,
    through: u64,
    state: State,
    /// When the last of it came, or was asked for.
    since: Moment,
    unanswered: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Parts,
    /// All of it is there, and the machine may take it.
    Whole,
    /// The machine has.
    Taken,
}

impl Receiving {
    pub(in crate::duties) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), coming: None, no_room: None }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(RECEIVED)
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        let Some(coming) = &self.coming else {
            return self.no_room.map(|label| Progress { stage: Stage::NoRoom, bytes: 0, of: label.bytes });
        };
        let stage = if coming.state == State::Taken { Stage::Installing } else { Stage::Receiving };
        Some(Progress { stage, bytes: coming.through, of: coming.label.bytes })
    }

    fn drop_coming(&mut self) {
        self.no_room = None;
        if self.coming.take().is_some() {
            snapshot::remove(&self.path());
        }
    }

    /// Whether the disk has room for so much.
    fn has_room(&self, label: Label) -> bool {
        let wanted = label.bytes.saturating_mul(ROOM).saturating_add(ROOM_LEFT_BYTES);
        // A system that does not tell has none of the limits that it could tell of.
        rustix::fs::statvfs(&self.folder).map_or(true, |disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= wanted)
    }
}

impl Desk {
    pub(super) fn offered(&mut self, answers: Question, label: Label) -> Result<(), Fault> {
        let picture = self.pair.picture();
        if !picture.state.follows() || picture.joined {
            return Ok(());
        }
        let mirror = picture.configuration.and_then(|it| it.mode.mirror());
        if mirror == Some(self.site.member) {
            // It takes none, and its machine says what is to be said of that.
            return self.deliver(answers, label);
        }
        if label.format != FORMAT {
            let format = label.format;
            tracing::error!(
                "the active offers a snapshot of form {format}, and this sub-node reads {FORMAT}: give both the same version"
            );
            return Ok(());
        }
        if let Some(coming) = &mut self.receiving.coming
            && (coming.label == label || coming.state == State::Taken)
        {
            if coming.state != State::Taken {
                coming.answers = answers;
            }
            match coming.state {
                State::Whole => return self.deliver_whole(),
                State::Parts | State::Taken => return Ok(()),
            }
        }
        self.receiving.drop_coming();
        if !self.receiving.has_room(label) {
            tracing::error!(
                code = %Code::DiskFull,
                "the active offers a snapshot of {} bytes, and {ROOM} times as much is not free here: make room", label.bytes
            );
            self.receiving.no_room = Some(label);
            return Ok(());
        }
        let file = match snapshot::create(&self.receiving.path()) {
            Ok(file) => file,
            Err(fault) => {
                tracing::error!(%fault, "a snapshot cannot be taken in; the active is asked again");
                return Ok(());
            }
        };
        tracing::info!(bytes = label.bytes, "a snapshot of the active's machines comes");
        self.receiving.coming = Some(Coming {
            answers,
            label,
            file,
            hasher: blake3::Hasher::new(),
            through: 0,
            state: State::Parts,
            since: clock::steady(),
            unanswered: 0,
        });
        if label.bytes == 0 {
            return self.whole();
        }
        self.say_had(true);
        Ok(())
    }

    pub(super) fn part(&mut self, hash: [u8; 32], offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let Some(coming) = &mut self.receiving.coming else { return Ok(()) };
        // What comes twice, or behind something that was lost, or is of another, or more than was announced, is none.
        let is_next = coming.state == State::Parts && coming.label.hash == hash && coming.through == offset;
        let fits = !bytes.is_empty()
            && bytes.len() <= PART_BYTES_MAX
            && bytes.len() as u64 <= coming.label.bytes - coming.through;
        if !is_next || !fits {
            return Ok(());
        }
        if let Err(error) = coming.file.write_all(bytes) {
            let fault = snapshot::disk_fault(&self.receiving.path(), &error);
            tracing::error!(%fault, "a snapshot cannot be taken in; the active is asked again");
            self.receiving.drop_coming();
            return Ok(());
        }
        coming.hasher.update(bytes);
        coming.through += bytes.len() as u64;
        (coming.since, coming.unanswered) = (clock::steady(), 0);
        let is_whole = coming.through == coming.label.bytes;
        self.say_had(false);
        if is_whole { self.whole() } else { Ok(()) }
    }

    fn whole(&mut self) -> Result<(), Fault> {
        let Some(coming) = &mut self.receiving.coming else { return Ok(()) };
        let hash = coming.label.hash;
        if *coming.hasher.finalize().as_bytes() != hash {
            tracing::warn!("a snapshot did not arrive as it was announced; the active is asked again");
            self.receiving.drop_coming();
            self.tell_of_snapshot(Parcel::Refused { hash });
            return Ok(());
        }
        coming.state = State::Whole;
        self.deliver_whole()
    }

    fn deliver_whole(&mut self) -> Result<(), Fault> {
        let Some(Coming { answers, label, .. }) = &self.receiving.coming else { return Ok(()) };
        let Question { epoch, nonce, ref history } = *answers;
        self.deliver(Question { epoch, nonce, history: history.clone() }, *label)
    }

    /// Tell the machine. If it does not take the answer, for it has asked anew meanwhile, there will be another offer.
    fn deliver(&mut self, answers: Question, label: Label) -> Result<(), Fault> {
        let (from, Question { epoch, nonce, history }) = (self.site.partner, answers);
        let message = Message::Snapshot { epoch, history, nonce, state: label.to_bytes() };
        self.unless_refused(from, pair::Input::Heard { from, message })
    }

    /// The machine wants a snapshot put in place.
    ///
    /// # Errors
    /// It is not the one that is here.
    pub(in crate::duties) fn install_snapshot(&mut self, history: History, state: &[u8]) -> Result<(), Fault> {
        let path = self.receiving.path();
        let Some(coming) = &mut self.receiving.coming else { return Err(not_here()) };
        if coming.state != State::Whole || coming.label.to_bytes() != state {
            return Err(not_here());
        }
        coming.state = State::Taken;
        let snapshot = Received { path, label: coming.label };
        self.happen(Happening::Install { history, snapshot });
        Ok(())
    }

    /// It is in place.
    pub(in crate::duties) fn snapshot_installed(&mut self) {
        self.receiving.drop_coming();
    }

    /// There is a link again: what was under way is not coming any more.
    pub(in crate::duties) fn snapshot_linked(&mut self) {
        if let Some(coming) = &mut self.receiving.coming {
            coming.unanswered = 0;
            coming.since = clock::steady();
            self.say_had(coming_parts(&self.receiving));
        }
    }

    pub(super) fn tend_receiving(&mut self) {
        let picture = self.pair.picture();
        let is_wanted = picture.state.follows() && !picture.joined;
        let pause_ms = self.site.timing.retry_ms.max(PAUSE_MS_MIN);
        let Some(coming) = &mut self.receiving.coming else {
            if !is_wanted {
                self.receiving.no_room = None;
            }
            return;
        };
        if !is_wanted && coming.state != State::Taken {
            return self.receiving.drop_coming();
        }
        let now = clock::steady();
        let waits_ms = if coming.state == State::Parts { pause_ms << coming.unanswered } else { WANTED_MS };
        if now.since_ms(coming.since) >= waits_ms {
            coming.since = now;
            coming.unanswered = (coming.unanswered + 1).min(UNANSWERED_MAX);
            self.say_had(coming_parts(&self.receiving));
        }
    }

    fn say_had(&self, again: bool) {
        if let Some(Coming { label, through, .. }) = &self.receiving.coming {
            self.tell_of_snapshot(Parcel::Had { hash: label.hash, through: *through, again });
        }
    }
}

/// Whether there are parts that have not come.
fn coming_parts(receiving: &Receiving) -> bool {
    receiving.coming.as_ref().is_some_and(|coming| coming.state == State::Parts)
}

fn not_here() -> Fault {
    Fault::new(Code::Internal, "a snapshot is to be put in place that is not here")
}
