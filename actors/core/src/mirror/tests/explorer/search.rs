//! Goes through worlds: the near before the far, each once. What is far is counted in steps, or in what goes otherwise than it usually
//! does. It knows how a world goes on, and nothing of what is in it.

use super::{
    truth::Violation,
    words,
    world::{Step, World},
};
use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
};

/// By what a world is far from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Far {
    /// Every step counts: all orders of everything.
    Steps,
    /// Only what is not the usual next step counts; appending does not.
    Mishaps,
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub far: Far,
    pub most: usize,
    pub worlds_max: usize,
}

/// What was seen.
#[derive(Debug)]
pub struct Found {
    pub worlds: usize,
    /// All worlds as far as this were seen.
    pub whole: Option<usize>,
    /// There are no others.
    pub all: bool,
    pub broken: Option<(Violation, Vec<String>)>,
}

impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.all { ", which are all there are" } else { "" };
        write!(out, "{} worlds{all}", self.worlds)?;
        if let Some(whole) = self.whole {
            write!(out, "; none is missing up to {whole}")?;
        }
        let Some((violation, trail)) = &self.broken else { return Ok(()) };
        write!(out, "\n{violation}")?;
        trail.iter().try_for_each(|line| write!(out, "\n  {line}"))
    }
}

/// Look at what can come of a world.
pub fn search(first: &World, extent: Extent) -> Found {
    let mut seen = BTreeSet::from([first.picture()]);
    // From which world each came, and how.
    let mut came: Vec<(usize, Step)> = vec![(0, Step::Pass)];
    let mut open = vec![VecDeque::new(); extent.most + 1];
    open[0].push_back((0, first.clone()));
    let mut cut_short = false;
    for far in 0..=extent.most {
        while let Some((number, world)) = open[far].pop_front() {
            let usual = world.usual();
            let mut steps = world.steps();
            steps.extend(usual.filter(|usual| !steps.contains(usual)));
            for step in steps {
                let free = extent.far == Far::Mishaps && (Some(step) == usual || matches!(step, Step::Append(..)));
                let next_far = far + usize::from(!free);
                if next_far > extent.most {
                    cut_short = true;
                    continue;
                }
                let mut next = world.clone();
                if let Err(violation) = next.take(step) {
                    let trail = trail(first, &came, number, step);
                    return Found {
                        worlds: seen.len(),
                        whole: far.checked_sub(1),
                        all: false,
                        broken: Some((violation, trail)),
                    };
                }
                if seen.insert(next.picture()) {
                    came.push((number, step));
                    open[next_far].push_back((came.len() - 1, next));
                }
                if seen.len() >= extent.worlds_max {
                    return Found { worlds: seen.len(), whole: far.checked_sub(1), all: false, broken: None };
                }
            }
        }
    }
    Found { worlds: seen.len(), whole: Some(extent.most), all: !cut_short, broken: None }
}

/// How it came to that, in words.
fn trail(first: &World, came: &[(usize, Step)], mut number: usize, last: Step) -> Vec<String> {
    let mut steps = vec![last];
    while number > 0 {
        let (before, step) = came[number];
        steps.push(step);
        number = before;
    }
    let (mut world, mut told) = (first.clone(), vec![format!("at first: {first}")]);
    for step in steps.into_iter().rev() {
        let words = words::step(&world, step);
        let broke = world.take(step).is_err();
        told.push(if broke { words } else { format!("{words:<60} | {world}") });
    }
    told
}
