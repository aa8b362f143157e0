//! `hansa testnet bench size`: what an operation costs in transactions of ten to ten thousand of them: in a row, side by side,
//! broadcast to as many services, and iterated over as many lines. Linear means that every row shows about the same.

use super::{
    Laboratory,
    choir::{Choir, Part},
    samples::rounded,
    usage::Usage,
};
use crate::{
    process::Executable,
    screen::{Screen, Tone, table},
};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use hansa_core::{document::Text, limit};
use hansa_sdk::{Client, Ending};
use serde::Serialize;
use serde_json::json;
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};
use tokio::time::timeout;

const SIZES: [u32; 4] = [10, 100, 1_000, 10_000];
const OPERATION: &str = "bench-work";
/// Services that one connection of the benchmark stands for.
const SERVICES_PER_CONNECTION: usize = 512;
/// Each point runs so many operations at least, in as many transactions as that takes, and repeats them for so long.
const OPERATIONS_MIN: u32 = 1_000;
/// An operation of the largest transaction may cost so many times what it costs in the smallest.
const RATIO_MAX: f64 = 2.0;
/// No transaction of the benchmark takes longer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(300);

/// What to measure.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The largest transaction: the curve has its points at 10, 100, 1,000, 10,000 operations, as far as this
    #[arg(long, default_value_t = 10_000)]
    pub operations: u32,
    /// Only these shapes
    #[arg(long, value_enum, value_delimiter = ',')]
    pub shapes: Vec<Shape>,
}

/// How the operations of a transaction lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// One after the other, each given what the one before answered.
    Row,
    /// Side by side; the tail collects what they answered.
    SideBySide,
    /// One operation, asked of as many services.
    Broadcast,
    /// One operation, performed for as many lines of the input.
    Iteration,
}

impl Shape {
    const ALL: [Self; 4] = [Self::Row, Self::SideBySide, Self::Broadcast, Self::Iteration];

    fn word(self) -> &'static str {
        match self {
            Self::Row => "in a row",
            Self::SideBySide => "side by side",
            Self::Broadcast => "broadcast to so many services",
            Self::Iteration => "iterated over so many lines",
        }
    }
}

/// What was measured at one point.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// The shape.
    pub shape: Shape,
    /// Operations of one transaction, or performances of its one operation.
    pub operations: u32,
    /// Transactions that were run, one after the other.
    pub transactions: u32,
    /// From the submission to the response, an operation.
    pub ms_per_operation: f64,
    /// Processor time of the node, an operation.
    pub node_cpu_ms_per_operation: f64,
    /// Bytes that the node's journal took, an operation.
    pub journal_bytes_per_operation: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The curves, one shape after the other.
    pub points: Vec<Point>,
    /// Of each curve with more than one point, how its ends lie to each other.
    pub linearity: Vec<Linearity>,
}

/// What an operation costs in the largest transaction of a shape over what it costs in the smallest.
#[derive(Clone, Debug, Serialize)]
pub struct Linearity {
    /// The shape.
    pub shape: Shape,
    /// Operations of the smallest transaction.
    pub operations_min: u32,
    /// Operations of the largest.
    pub operations_max: u32,
    /// By the time from submission to response.
    pub time_ratio: f64,
    /// By the node's processor time.
    pub node_cpu_ratio: f64,
    /// What each may be: more is more than linear.
    pub ratio_max: f64,
}

impl Linearity {
    fn of(points: &[Point]) -> Vec<Self> {
        let curves = points.chunk_by(|one, other| one.shape == other.shape);
        let ends = curves.filter_map(|curve| match curve {
            [smallest, .., largest] => Some((smallest, largest)),
            _ => None,
        });
        let ratio = |figure: fn(&Point) -> f64, (smallest, largest): (&Point, &Point)| {
            rounded(figure(largest) / figure(smallest))
        };
        ends.map(|ends| Self {
            shape: ends.0.shape,
            operations_min: ends.0.operations,
            operations_max: ends.1.operations,
            time_ratio: ratio(|point| point.ms_per_operation, ends),
            node_cpu_ratio: ratio(|point| point.node_cpu_ms_per_operation, ends),
            ratio_max: RATIO_MAX,
        })
        .collect()
    }
}

/// Measure and print.
///
/// # Errors
/// The node does not do what it must, or the options are out of bounds.
pub async fn run(executable: &Executable, options: &Options, screen: Screen) -> Result<()> {
    let figures = measure(executable, options, screen).await?;
    let heading = ["", "operations", "time an operation", "the node's processor time", "journal"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(figures.points.iter().map(|point| {
        vec![
            point.shape.word().to_owned(),
            point.operations.to_string(),
            format!("{:.3} ms", point.ms_per_operation),
            format!("{:.3} ms", point.node_cpu_ms_per_operation),
            format!("{:.0} B", point.journal_bytes_per_operation),
        ]
    }));
    for (place, line) in table(&rows).iter().enumerate() {
        screen.say(&if place == 0 { screen.tone(Tone::Strong, line) } else { line.clone() });
    }
    screen.say("");
    let heading =
        ["an operation in the largest transaction over one in the smallest", "limit", "time", "processor time"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(figures.linearity.iter().map(|linearity| {
        vec![
            format!("{}, {} over {}", linearity.shape.word(), linearity.operations_max, linearity.operations_min),
            format!("{:.0}", linearity.ratio_max),
            format!("{:.2}", linearity.time_ratio),
            format!("{:.2}", linearity.node_cpu_ratio),
        ]
    }));
    for (place, line) in table(&rows).iter().enumerate() {
        screen.say(&if place == 0 { screen.tone(Tone::Strong, line) } else { line.clone() });
    }
    screen.object(&figures);
    Ok(())
}

/// Measure.
///
/// # Errors
/// The node does not do what it must, or the options are out of bounds.
pub async fn measure(executable: &Executable, options: &Options, screen: Screen) -> Result<Figures> {
    let max = SIZES[SIZES.len() - 1];
    ensure!((1..=max).contains(&options.operations), "--operations is 1 to {max}");
    let shapes = if options.shapes.is_empty() { Shape::ALL.to_vec() } else { options.shapes.clone() };
    let sizes: Vec<u32> =
        SIZES.into_iter().filter(|size| *size < options.operations).chain([options.operations]).collect();
    let mut points = Vec::new();
    for shape in shapes {
        // Each shape has a node of its own, so that none pays for what another left in the store.
        let laboratory = Laboratory::open(executable, toml::Table::new(), &definition(Shape::Row, 1)).await?;
        let client = Client::connect(&laboratory.address(), "bench-size").await?;
        let mut choir: Option<Choir> = None;
        for &operations in &sizes {
            screen.say(&format!("{operations} {} …", shape.word()));
            if choir.is_none() || shape == Shape::Broadcast {
                // Those of before go first: every service is asked.
                drop(choir.take());
                let services = if shape == Shape::Broadcast { operations } else { 1 };
                choir = Some(choir_of(&laboratory, services).await?);
            }
            points.push(point(&laboratory, &client, shape, operations).await?);
        }
    }
    let linearity = Linearity::of(&points);
    Ok(Figures { points, linearity })
}

async fn choir_of(laboratory: &Laboratory, services: u32) -> Result<Choir> {
    // The node notices that the old ones are gone when their connections close.
    let gone = async {
        while offered(laboratory).await? > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(())
    };
    timeout(ANSWER_WAIT_MAX, gone).await.context("the services of the last point are still there")??;
    let names: Vec<_> = (1..=services).map(|number| format!("bench-desk-{number}")).collect();
    let connections = names.chunks(SERVICES_PER_CONNECTION).map(<[_]>::to_vec).collect();
    Choir::attach(&laboratory.address(), Part { connections, operation: OPERATION, holds: false }).await
}

async fn offered(laboratory: &Laboratory) -> Result<u64> {
    let services = laboratory.node().ask("services", json!({})).await?;
    let sessions = |service: &serde_json::Value| service["sessions"].as_u64().unwrap_or_default();
    Ok(services.as_array().map_or(0, |services| services.iter().map(sessions).sum()))
}

async fn point(laboratory: &Laboratory, client: &Client, shape: Shape, operations: u32) -> Result<Point> {
    let node = laboratory.node();
    node.ask("define", json!({ "text": definition(shape, operations) })).await?;
    let input = input(shape, operations)?;
    let pid = node.pid().context("the node does not run")?;
    let transactions = OPERATIONS_MIN.div_ceil(operations);
    // The first one reads the definition and wakes what sleeps.
    finish(client, &input).await?;
    let before = (Usage::of(pid)?, journal_bytes(laboratory).await?, Instant::now());
    for _ in 0..transactions {
        finish(client, &input).await?;
    }
    let took = before.2.elapsed();
    let after = (Usage::of(pid)?, journal_bytes(laboratory).await?);
    let all = f64::from(transactions) * f64::from(operations);
    let each_ms = |duration: Duration| rounded(duration.as_secs_f64() * 1_000.0 / all);
    Ok(Point {
        shape,
        operations,
        transactions,
        ms_per_operation: each_ms(took),
        node_cpu_ms_per_operation: each_ms(after.0.since(before.0).processor),
        journal_bytes_per_operation: rounded((after.1 - before.1) / all),
    })
}

async fn finish(client: &Client, input: &Text) -> Result<()> {
    let ended = async { client.submit("bench-size", input.clone()).await?.response().await };
    let response = timeout(ANSWER_WAIT_MAX, ended).await.context("a transaction was not answered in time")??;
    match response.ending {
        Ending::Completed(_) => Ok(()),
        Ending::Failed(fault) => bail!("transaction {} failed: {fault}", response.transaction),
        ending => bail!("transaction {} ended as {}", response.transaction, ending.word()),
    }
}

/// What the journal has taken since the node's start.
async fn journal_bytes(laboratory: &Laboratory) -> Result<f64> {
    let readings = laboratory.node().ask("metrics", json!({})).await?;
    let reading = readings.as_array().and_then(|all| all.iter().find(|one| one["name"] == "hansa_journal_bytes"));
    reading.and_then(|one| one["value"].as_f64()).context("the node does not say what its journal took")
}

/// `bench-size` with so many operations of this shape.
fn definition(shape: Shape, operations: u32) -> String {
    let (last, mut all) = (if matches!(shape, Shape::Row | Shape::SideBySide) { operations } else { 1 }, String::new());
    let tail = last + 1;
    let link = |from: u32, to: u32| format!("<OPLINK><SRCOPID>{from}</SRCOPID><DSTOPID>{to}</DSTOPID></OPLINK>");
    let output =
        |of: u32| format!("<JOIN><DOCUMENT><OPID>{of}</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>");
    let given = "<JOIN><DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE><OPDOCVARTYPE>Line[1]</OPDOCVARTYPE></DOCUMENT></JOIN>";
    let first: String =
        if shape == Shape::SideBySide { (1..=last).map(|to| link(0, to)).collect() } else { link(0, 1) };
    let _ = write!(all, "<OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID>{first}</OPERATION>");
    for id in 1..=last {
        let (next, inside) = match shape {
            Shape::Row => (id + 1, if id == 1 { given.to_owned() } else { output(id - 1) }),
            Shape::SideBySide => (tail, given.to_owned()),
            Shape::Broadcast => (tail, format!("<BROADCAST/>{given}")),
            Shape::Iteration => (
                tail,
                format!(
                    "<hx:ITERATE><DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE><OPDOCVARTYPE>Line</OPDOCVARTYPE></DOCUMENT>\
                     <hx:MAX>{operations}</hx:MAX><hx:CONCURRENT>{}</hx:CONCURRENT></hx:ITERATE>",
                    operations.min(64)
                ),
            ),
        };
        let _ = write!(
            all,
            "<OPERATION><NAME>work-{id}</NAME><hx:PERFORMS>{OPERATION}</hx:PERFORMS><OPID>{id}</OPID><CXCNAME>ANY</CXCNAME>{}{inside}</OPERATION>",
            link(id, next)
        );
    }
    let join = if shape == Shape::Row { output(last) } else { String::new() };
    format!(
        "<TRANSACTION xmlns:hx=\"{}\"><NAME>bench-size</NAME>{all}<OPERATION><NAME>CXtsTailOp</NAME><OPID>{tail}</OPID>{join}</OPERATION></TRANSACTION>",
        hansa_core::transaction::EXTENSIONS
    )
}

/// The input: one line for each operation of an iteration, else one.
fn input(shape: Shape, operations: u32) -> Result<Text> {
    let lines = if shape == Shape::Iteration { operations } else { 1 };
    let lines: String =
        (1..=lines).map(|number| format!("<Line number=\"{number}\"><Item>bolt</Item></Line>")).collect();
    let input = format!("<Order xmlns=\"urn:hansa:bench:1\">{lines}</Order>");
    ensure!(input.len() < limit::DOCUMENT_BYTES_MAX, "so many lines are no document");
    Ok(Text::parse(input.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_core::transaction::Definition;

    #[test]
    fn every_shape_is_a_sound_definition_of_any_size() {
        for shape in Shape::ALL {
            for operations in [1, 10, 100] {
                let definition = Text::parse(definition(shape, operations).as_bytes()).unwrap();
                let definition =
                    Definition::parse(&definition).unwrap_or_else(|faults| panic!("{shape:?}: {faults:#?}"));
                let whole = matches!(shape, Shape::Row | Shape::SideBySide);
                assert_eq!(definition.operations.len(), if whole { operations as usize + 2 } else { 3 });
                input(shape, operations).unwrap();
            }
        }
    }
    #[test]
    fn the_ends_of_each_curve_are_compared() {
        let point = |shape, operations, ms_per_operation| Point {
            shape,
            operations,
            transactions: 1,
            ms_per_operation,
            node_cpu_ms_per_operation: 1.0 / ms_per_operation,
            journal_bytes_per_operation: 1.0,
        };
        let points = [
            point(Shape::Row, 10, 2.0),
            point(Shape::Row, 100, 9.0),
            point(Shape::Row, 1_000, 3.0),
            point(Shape::Broadcast, 10, 1.0),
            point(Shape::Iteration, 10, 4.0),
            point(Shape::Iteration, 20, 1.0),
        ];
        let told = Linearity::of(&points).into_iter().map(|it| (it.shape, it.operations_max, it.time_ratio));
        assert_eq!(told.collect::<Vec<_>>(), [(Shape::Row, 1_000, 1.5), (Shape::Iteration, 20, 0.25)]);
        assert_eq!(Linearity::of(&points)[1].node_cpu_ratio, 4.0);
    }
}
