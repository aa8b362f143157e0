//! What a seed makes of a simulated federation, and what goes wrong in it when: text that a person can read and edit, and that
//! replays to the same story. Random choices that are not here (delays, losses, order) come from the seed as the story goes on.

use hansa_core::{dice::Dice, mirror::Flaw};
use std::fmt;

/// What may be under way in a real node.
pub const WINDOW: u16 = 8_192;

/// How a federation is, and how its world treats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Organizations.
    pub members: u8,
    /// Organizations with a pair, the first ones.
    pub pairs: u8,
    /// Clients of each organization.
    pub clients: u8,
    /// Of a thousand messages so many are lost, come twice, come late.
    pub lost: u8,
    /// See above.
    pub twice: u8,
    /// See above.
    pub late: u8,
    /// Of a hundred writes so many are slow.
    pub slow: u8,
    /// Whether an active without its mirror waits.
    pub halt: bool,
    /// What clocks differ by at most.
    pub clocks_ms: u64,
    /// Of a thousand milliseconds a clock takes at most so many too much, or too few.
    pub drift: u8,
    /// Entries that are kept behind a checkpoint; with zero there are none, and all are kept.
    pub keep: u16,
    /// Entries that may be under way to a mirror.
    pub window: u16,
    /// Which side of every pair has half of the other's times, as if two operators had chosen them; with zero none has.
    pub hasty: u8,
    /// Messages with entries that may be under way to a mirror; with zero as many as there are.
    pub way: u8,
    /// How long things go wrong.
    pub faults_ms: u64,
}

impl Options {
    /// What came to the stories later. It has dice of its own, so that those of before stay as they were.
    fn draw_more(&mut self, dice: &mut Dice) {
        let often = |dice: &mut Dice| dice.below(3) > 0;
        self.drift = if often(dice) { 1 + dice.below(10) as u8 } else { 0 };
        self.keep = if often(dice) { 1 + dice.below(120) as u16 } else { 0 };
        self.window = if often(dice) { 1 + dice.below(60) as u16 } else { WINDOW };
        self.hasty = dice.below(5).saturating_sub(2) as u8;
        self.way = if often(dice) { 1 + dice.below(4) as u8 } else { 0 };
    }

    /// Those of a seed: some worlds are calm in one respect and wild in another.
    pub fn drawn(dice: &mut Dice) -> Self {
        let rate = |dice: &mut Dice, most: u64| if dice.below(3) == 0 { 0 } else { dice.below(most) as u8 };
        let members = 2 + dice.below(4) as u8;
        Self {
            members,
            pairs: if dice.below(8) == 0 { 0 } else { 1 + dice.below(u64::from(members)) as u8 },
            clients: 4 + dice.below(8) as u8,
            lost: rate(dice, 30),
            twice: rate(dice, 40),
            late: rate(dice, 60),
            slow: rate(dice, 20),
            halt: dice.below(6) == 0,
            clocks_ms: dice.below(2) * dice.below(5_000),
            drift: 0,
            keep: 0,
            window: WINDOW,
            hasty: 0,
            way: 0,
            faults_ms: 30_000 + dice.below(90_000),
        }
    }
}

/// Something that goes wrong. Sub-nodes are `organization/side`, both counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "what a variant says of its fields is all there is to say")]
pub enum Fault {
    /// A process ends; of what its disk has not synced so many tenths stay, and it is back after a while.
    Crash { site: SiteName, tenths: u8, ms: u64 },
    /// A process stands still, and does not know.
    Stop { site: SiteName, ms: u64 },
    /// Nothing gets through from one sub-node to another.
    Cut { from: SiteName, to: SiteName, ms: u64 },
    /// A sub-node hears nobody and is heard by nobody.
    Isolate { site: SiteName, ms: u64 },
    /// A disk is replaced by an empty one.
    Wipe { site: SiteName, ms: u64 },
    /// A witness loses its memory.
    Forget { site: SiteName, ms: u64 },
    /// The operator has the other sub-node serve.
    Switch { organization: u8 },
    /// The operator has other witnesses appointed: of those that are there now, but for one organization's.
    Appoint { organization: u8, without: u8 },
    /// A disk is slow.
    Slow { site: SiteName, ms: u64 },
    /// A witness lies.
    Lie { site: SiteName, ms: u64 },
    /// Somebody sets the clock of a sub-node.
    Set { site: SiteName, back: bool, ms: u64 },
    /// The operator starts a sub-node anew, with half of the usual times or with the whole; it is back after a while.
    Retime { site: SiteName, half: bool, ms: u64 },
    /// The machines of a sub-node that follows cannot take an entry in, and say so to the pair, until somebody mends that.
    Poison { site: SiteName, ms: u64 },
    /// Connections between organizations break.
    Disconnect,
    /// Clients and services lose their connections.
    Detach,
}

/// A sub-node by its organization and side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SiteName {
    /// From 1 on.
    pub organization: u8,
    /// 1 or 2.
    pub side: u8,
}

impl fmt::Display for SiteName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.organization, self.side)
    }
}

/// A whole story, as far as it is not drawn on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What all that is drawn on the way is drawn from.
    pub seed: u64,
    /// The federation.
    pub options: Options,
    /// What goes wrong, each with the milliseconds since work began; ascending.
    pub faults: Vec<(u64, Fault)>,
    /// A fault that is built in on purpose.
    pub flaw: Option<Flaw>,
}

impl Schedule {
    /// What a seed makes.
    pub fn drawn(seed: u64, flaw: Option<Flaw>) -> Self {
        Self::drawn_long(seed, flaw, 1)
    }

    /// The same so many times as long, with more to do.
    pub fn drawn_long(seed: u64, flaw: Option<Flaw>, times: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut options = Options::drawn(&mut dice);
        options.faults_ms *= times;
        options.clients = options.clients.saturating_mul(times.min(10) as u8).min(100);
        if flaw.is_some() {
            // A broken pair can only show where there is one, and a witness where they are few.
            options.pairs = options.pairs.max(1);
            options.members = options.members.max(4);
            options.halt = false;
            if flaw == Some(Flaw::AmnesiacWitness) {
                options.members = 4;
                options.pairs = options.pairs.min(options.members);
            }
        }
        let pause = 200 + dice.below(3_000);
        let mut faults = Vec::new();
        let mut at = dice.below(1_000);
        while at < options.faults_ms {
            faults.push((at, Fault::drawn(&mut dice, &options)));
            at += 20 + dice.below(pause);
        }
        let mut dice = Dice::new(seed ^ 0x6d6f_7265);
        options.draw_more(&mut dice);
        for _ in 0..dice.below(2) * dice.below(6) {
            faults.push((dice.below(options.faults_ms), Fault::lie(&mut dice, &options)));
        }
        for _ in 0..dice.below(2) * dice.below(10) {
            faults.push((dice.below(options.faults_ms), Fault::set(&mut dice, &options)));
        }
        if options.pairs > 0 {
            for _ in 0..dice.below(2) * dice.below(10) {
                faults.push((dice.below(options.faults_ms), Fault::retime(&mut dice, &options)));
            }
            for _ in 0..dice.below(2) * dice.below(5) {
                faults.push((dice.below(options.faults_ms), Fault::poison(&mut dice, &options)));
            }
        }
        if flaw == Some(Flaw::AmnesiacWitness) {
            // What it forgets does harm only between two decisions of others, which takes long to hit.
            for _ in 0..options.faults_ms / 1_000 {
                let site = SiteName { organization: 1 + dice.below(options.members.into()) as u8, side: 1 };
                faults.push((dice.below(options.faults_ms), Fault::Forget { site, ms: dice.below(200) }));
            }
        }
        faults.sort_by_key(|(at, _)| *at);
        Self { seed, options, faults, flaw }
    }

    /// Without what came to the stories later: as a search before that found it.
    #[cfg(test)]
    pub(super) fn plain(mut self) -> Self {
        self.faults.retain(|(_, fault)| {
            !matches!(fault, Fault::Lie { .. } | Fault::Set { .. } | Fault::Retime { .. } | Fault::Poison { .. })
        });
        let Options { drift, keep, window, hasty, way, .. } = &mut self.options;
        (*drift, *keep, *window, *hasty, *way) = (0, 0, WINDOW, 0, 0);
        self
    }

    /// Read a schedule that was printed, and perhaps edited.
    ///
    /// # Errors
    /// Line and reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut schedule = Self { seed: 0, options: Options::drawn(&mut Dice::new(0)), faults: Vec::new(), flaw: None };
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                schedule.read(line).map_err(|why| format!("line {}: {why}: {line}", number + 1))?;
            }
        }
        let Options { members, pairs, .. } = schedule.options;
        if pairs > members {
            return Err(format!("{pairs} pairs are too many for {members} members"));
        }
        schedule.faults.sort_by_key(|(at, _)| *at);
        Ok(schedule)
    }

    fn read(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["seed", seed] => self.seed = number(seed)?,
            ["flaw", name] => {
                let known = Flaw::ALL.iter().find(|(_, known)| *known == name);
                self.flaw = Some(known.ok_or("there is no such flaw")?.0);
            }
            ["option", name, value] => self.options.set(name, value)?,
            ["at", at, ref rest @ ..] => {
                let at = number(at)?;
                let fault = Fault::parse(rest)?;
                fault.within(&self.options)?;
                self.faults.push((at, fault));
            }
            _ => return Err("neither seed, flaw, option nor at".to_owned()),
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("'{word}' is no number that fits"))
}

impl Options {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let bounded = |least: u8, most: u8| -> Result<u8, String> {
            let value = number(value)?;
            if (least..=most).contains(&value) { Ok(value) } else { Err(format!("{name} is {least} to {most}")) }
        };
        match name {
            "members" => self.members = bounded(2, 7)?,
            "pairs" => self.pairs = bounded(0, 7)?,
            "clients" => self.clients = bounded(0, 100)?,
            "lost" => self.lost = bounded(0, 100)?,
            "twice" => self.twice = bounded(0, 100)?,
            "late" => self.late = bounded(0, 100)?,
            "slow" => self.slow = bounded(0, 100)?,
            "halt" => self.halt = value == "yes",
            "drift" => self.drift = bounded(0, 10)?,
            "keep" => self.keep = number(value)?,
            "window" => self.window = number::<std::num::NonZeroU16>(value)?.get(),
            "hasty" => self.hasty = bounded(0, 2)?,
            "way" => self.way = bounded(0, 100)?,
            "clocks-ms" => self.clocks_ms = number::<u32>(value)?.into(),
            "faults-ms" => self.faults_ms = number::<u32>(value)?.into(),
            _ => return Err("there is no such option".to_owned()),
        }
        Ok(())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { members, pairs, clients, lost, twice, late, slow, halt, clocks_ms, .. } = &self.options;
        let Options { drift, keep, window, hasty, way, faults_ms, .. } = &self.options;
        writeln!(out, "seed {}", self.seed)?;
        if let Some(flaw) = self.flaw {
            let name = Flaw::ALL.iter().find(|(known, _)| *known == flaw).map_or("", |(_, name)| *name);
            writeln!(out, "flaw {name}")?;
        }
        writeln!(out, "option members {members}\noption pairs {pairs}\noption clients {clients}")?;
        writeln!(out, "option lost {lost}\noption twice {twice}\noption late {late}\noption slow {slow}")?;
        writeln!(out, "option halt {}\noption clocks-ms {clocks_ms}", if *halt { "yes" } else { "no" })?;
        writeln!(out, "option drift {drift}\noption keep {keep}\noption window {window}\noption hasty {hasty}")?;
        writeln!(out, "option way {way}\noption faults-ms {faults_ms}")?;
        self.faults.iter().try_for_each(|(at, fault)| writeln!(out, "at {at} {fault}"))
    }
}

impl Fault {
    fn drawn(dice: &mut Dice, options: &Options) -> Self {
        let organization = 1 + dice.below(u64::from(options.members)) as u8;
        let side = if organization <= options.pairs { 1 + dice.below(2) as u8 } else { 1 };
        let site = SiteName { organization, side };
        let other = match dice.below(3) {
            0 if organization <= options.pairs => SiteName { organization, side: 3 - side },
            _ => SiteName { organization: 1 + dice.below(u64::from(options.members)) as u8, side: 1 },
        };
        let ms = match dice.below(3) {
            0 => dice.below(100),
            1 => dice.below(1_000),
            _ => dice.below(4_000),
        };
        match dice.below(20) {
            0..5 => Self::Crash { site, tenths: dice.below(11) as u8, ms },
            5..7 => Self::Stop { site, ms },
            7..9 => Self::Cut { from: site, to: other, ms },
            9..11 => Self::Isolate { site, ms },
            11 => Self::Wipe { site, ms },
            12 => Self::Forget { site: SiteName { organization, side: 1 }, ms },
            13 => Self::Switch { organization },
            14 => Self::Appoint { organization, without: other.organization },
            15 | 16 => Self::Slow { site, ms },
            17 | 18 => Self::Disconnect,
            _ => Self::Detach,
        }
    }

    /// All lies of a story are one witness's: it would be two liars if another began.
    fn lie(dice: &mut Dice, options: &Options) -> Self {
        let organization = options.members - dice.below(1 + u64::from(options.members) / 4) as u8;
        Self::Lie { site: SiteName { organization, side: 1 }, ms: 500 + dice.below(20_000) }
    }

    fn set(dice: &mut Dice, options: &Options) -> Self {
        let organization = 1 + dice.below(u64::from(options.members)) as u8;
        let side = if organization <= options.pairs { 1 + dice.below(2) as u8 } else { 1 };
        Self::Set { site: SiteName { organization, side }, back: dice.below(2) == 0, ms: dice.below(5_000) }
    }

    fn retime(dice: &mut Dice, options: &Options) -> Self {
        Self::Retime { site: SiteName::paired(dice, options), half: dice.below(2) == 0, ms: dice.below(400) }
    }

    fn poison(dice: &mut Dice, options: &Options) -> Self {
        Self::Poison { site: SiteName::paired(dice, options), ms: 500 + dice.below(8_000) }
    }

    fn parse(words: &[&str]) -> Result<Self, String> {
        Ok(match *words {
            ["crash", site, "keep", tenths, "for", ms] => {
                Self::Crash { site: SiteName::parse(site)?, tenths: number::<u8>(tenths)?.min(10), ms: number(ms)? }
            }
            ["stop", site, "for", ms] => Self::Stop { site: SiteName::parse(site)?, ms: number(ms)? },
            ["cut", from, "to", to, "for", ms] => {
                Self::Cut { from: SiteName::parse(from)?, to: SiteName::parse(to)?, ms: number(ms)? }
            }
            ["isolate", site, "for", ms] => Self::Isolate { site: SiteName::parse(site)?, ms: number(ms)? },
            ["wipe", site, "for", ms] => Self::Wipe { site: SiteName::parse(site)?, ms: number(ms)? },
            ["forget", site, "for", ms] => Self::Forget { site: SiteName::parse(site)?, ms: number(ms)? },
            ["switch", organization] => Self::Switch { organization: number(organization)? },
            ["appoint", organization, "without", without] => {
                Self::Appoint { organization: number(organization)?, without: number(without)? }
            }
            ["slow", site, "for", ms] => Self::Slow { site: SiteName::parse(site)?, ms: number(ms)? },
            ["lie", site, "for", ms] => Self::Lie { site: SiteName::parse(site)?, ms: number(ms)? },
            ["set", site, way @ ("ahead" | "back"), "by", ms] => {
                let ms = number::<u32>(ms)?.into();
                Self::Set { site: SiteName::parse(site)?, back: way == "back", ms }
            }
            ["retime", site, times @ ("half" | "whole"), "for", ms] => {
                Self::Retime { site: SiteName::parse(site)?, half: times == "half", ms: number(ms)? }
            }
            ["poison", site, "for", ms] => Self::Poison { site: SiteName::parse(site)?, ms: number(ms)? },
            ["disconnect"] => Self::Disconnect,
            ["detach"] => Self::Detach,
            _ => return Err("that is nothing that can go wrong".to_owned()),
        })
    }

    /// What it is, without where and how long.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::Stop { .. } => "stop",
            Self::Cut { .. } => "cut",
            Self::Isolate { .. } => "isolate",
            Self::Wipe { .. } => "wipe",
            Self::Forget { .. } => "forget",
            Self::Switch { .. } => "switch",
            Self::Appoint { .. } => "appoint",
            Self::Slow { .. } => "slow",
            Self::Lie { .. } => "lie",
            Self::Set { .. } => "set",
            Self::Retime { .. } => "retime",
            Self::Poison { .. } => "poison",
            Self::Disconnect => "disconnect",
            Self::Detach => "detach",
        }
    }

    fn within(&self, options: &Options) -> Result<(), String> {
        let sites: Vec<SiteName> = match *self {
            Self::Crash { site, .. }
            | Self::Stop { site, .. }
            | Self::Isolate { site, .. }
            | Self::Wipe { site, .. }
            | Self::Forget { site, .. }
            | Self::Slow { site, .. }
            | Self::Lie { site, .. }
            | Self::Set { site, .. }
            | Self::Retime { site, .. }
            | Self::Poison { site, .. } => vec![site],
            Self::Cut { from, to, .. } => vec![from, to],
            Self::Switch { organization } => vec![SiteName { organization, side: 1 }],
            Self::Appoint { organization, without } => {
                [organization, without].map(|organization| SiteName { organization, side: 1 }).to_vec()
            }
            Self::Disconnect | Self::Detach => vec![],
        };
        let is_there = |site: &SiteName| {
            (1..=options.members).contains(&site.organization) && (site.side == 1 || site.organization <= options.pairs)
        };
        match sites.iter().find(|site| !is_there(site)) {
            Some(site) => Err(format!("there is no sub-node {site} (options come before what goes wrong)")),
            None => Ok(()),
        }
    }
}

impl SiteName {
    /// One of a pair, of which there is one.
    fn paired(dice: &mut Dice, options: &Options) -> Self {
        Self { organization: 1 + dice.below(options.pairs.into()) as u8, side: 1 + dice.below(2) as u8 }
    }

    fn parse(word: &str) -> Result<Self, String> {
        let (organization, side) = word.split_once('/').ok_or("a sub-node is organization/side, like 2/1")?;
        let side = number(side)?;
        if side == 1 || side == 2 {
            Ok(Self { organization: number(organization)?, side })
        } else {
            Err("a side is 1 or 2".to_owned())
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash { site, tenths, ms } => write!(out, "crash {site} keep {tenths} for {ms}"),
            Self::Stop { site, ms } => write!(out, "stop {site} for {ms}"),
            Self::Cut { from, to, ms } => write!(out, "cut {from} to {to} for {ms}"),
            Self::Isolate { site, ms } => write!(out, "isolate {site} for {ms}"),
            Self::Wipe { site, ms } => write!(out, "wipe {site} for {ms}"),
            Self::Forget { site, ms } => write!(out, "forget {site} for {ms}"),
            Self::Switch { organization } => write!(out, "switch {organization}"),
            Self::Appoint { organization, without } => write!(out, "appoint {organization} without {without}"),
            Self::Slow { site, ms } => write!(out, "slow {site} for {ms}"),
            Self::Lie { site, ms } => write!(out, "lie {site} for {ms}"),
            Self::Set { site, back, ms } => {
                write!(out, "set {site} {} by {ms}", if *back { "back" } else { "ahead" })
            }
            Self::Retime { site, half, ms } => {
                write!(out, "retime {site} {} for {ms}", if *half { "half" } else { "whole" })
            }
            Self::Poison { site, ms } => write!(out, "poison {site} for {ms}"),
            Self::Disconnect => write!(out, "disconnect"),
            Self::Detach => write!(out, "detach"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // X2: a person can read and edit it.
    #[test]
    fn a_schedule_that_is_printed_reads_as_it_was() {
        for seed in 0..200 {
            let flaw = Flaw::ALL.get(seed as usize % 20).map(|(flaw, _)| *flaw);
            let schedule = Schedule::drawn(seed, flaw);
            assert_eq!(Schedule::parse(&schedule.to_string()).expect("it is one"), schedule);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_line() {
        let refused = |text| Schedule::parse(text).expect_err("it is none");
        assert_eq!(refused("seed 1\nat 5 crash 9/1 keep 0 for 3").split(':').next(), Some("line 2"));
        assert!(refused("at 5 dance").contains("nothing that can go wrong"));
        assert!(refused("option members 100").contains("2 to 7"));
        assert!(refused("seed x").contains("no number"));
        assert!(refused("option members 2\noption pairs 3").contains("too many for 2"));
    }
}
