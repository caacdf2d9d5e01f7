//! A graph as boxes from top to bottom: layers with what follows them, and the shapes that go from one to the next.

use std::collections::HashMap;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use rust_sugiyama::configure::{Config, RankingType};

use super::{Drawn, FONT, Picture, PlotError, draw, heading};
use crate::graph::{Codes, Graph, Node, NodeId, Op, by};
use crate::text;

/// The most boxes of a picture.
const MAX_BOXES: usize = 2000;

const LINE: f64 = 15.0;
const CHAR: f64 = 6.6;
const GAP: f64 = 26.0;
const MARGIN: f64 = 24.0;
const HEADING: u32 = 62;

/// Draws what `graph` computes, from top to bottom: a box for each layer and each place where values meet, with what only
/// follows it, and the shape of what goes from one box to the next.
///
/// # Errors
///
/// As [`filled_array`](super::filled_array), and where the graph has too many boxes to be looked at.
pub fn graph(path: &Path, title: &str, graph: &Graph) -> Result<(), PlotError> {
    let boxes = boxes(graph);
    if boxes.len() > MAX_BOXES {
        return Err(PlotError::new(
            path,
            format!(
                "{} boxes: expected {MAX_BOXES} at most; print the graph as text",
                boxes.len()
            ),
        ));
    }
    let drawing = Drawing::new(title, graph, boxes);
    let size = (
        drawing.width.ceil() as u32,
        drawing.height.ceil() as u32 + HEADING,
    );
    draw(path, size, &drawing)
}

/// Nodes that are drawn as one box: the last of them is what others read.
struct Block {
    nodes: Vec<NodeId>,
    lines: Vec<String>,
}

/// Whether a node only changes the numbers of the one that it follows.
fn follows(node: &Node) -> bool {
    matches!(node.op(), Op::Affine(_) | Op::Function(_) | Op::Reshape { .. })
}

fn boxes(graph: &Graph) -> Vec<Block> {
    let readers = graph.readers();
    let codes = graph.codes();
    let mut blocks: Vec<Block> = Vec::new();
    let mut of: HashMap<NodeId, usize> = HashMap::new();
    for (id, node) in graph.iter() {
        let before = node.inputs().first().copied();
        let alone = before.filter(|before| {
            let is_input = matches!(graph.node(*before).op(), Op::Input { .. });
            follows(node)
                && readers[before.index()].len() == 1
                && !graph.outputs().contains(before)
                && !is_input
        });
        let block = match alone {
            Some(before) => of[&before],
            None => {
                blocks.push(Block {
                    nodes: Vec::new(),
                    lines: Vec::new(),
                });
                blocks.len() - 1
            }
        };
        blocks[block].nodes.push(id);
        of.insert(id, block);
    }
    for block in &mut blocks {
        block.lines = lines(graph, &block.nodes, &codes);
    }
    blocks
}

fn lines(graph: &Graph, nodes: &[NodeId], codes: &[Option<Codes>]) -> Vec<String> {
    let first = graph.node(nodes[0]);
    let what = graph.describe(nodes[0]);
    let mut lines = vec![first.name().to_owned()];
    // `add.3` says that it adds.
    if first.name().split('.').next() != Some(&what) {
        lines.push(what);
    }
    let mut rest = Vec::new();
    for (n, &id) in nodes.iter().enumerate().skip(1) {
        // What makes codes is said by the codes.
        let made = nodes[n..].iter().any(|id| codes[id.index()].is_some());
        let norm = match graph.node(id).op() {
            Op::Affine(affine) => affine.parts().any(|part| part.as_scalar().is_none()),
            Op::Function(_) => false,
            _ => continue,
        };
        match (norm, made) {
            (true, _) => rest.push("norm".to_owned()),
            (false, false) => rest.push(graph.describe(id)),
            (false, true) => {}
        }
    }
    let last = nodes[nodes.len() - 1];
    if let Some(codes) = &codes[last.index()] {
        rest.push(format!("codes {}", codes.kind()));
    }
    if !rest.is_empty() {
        lines.push(rest.join(", "));
    }
    lines.iter().map(|line| text::line(line)).collect()
}

struct Drawing<'a> {
    title: String,
    count: String,
    blocks: Vec<Block>,
    /// The middle of each box, and its size.
    places: Vec<[f64; 4]>,
    /// The shape that goes along, and the points of the line.
    edges: Vec<(String, Vec<(f64, f64)>)>,
    width: f64,
    height: f64,
    graph: &'a Graph,
}

impl<'a> Drawing<'a> {
    fn new(title: &str, graph: &'a Graph, blocks: Vec<Block>) -> Self {
        let mut of = HashMap::new();
        for (n, block) in blocks.iter().enumerate() {
            of.extend(block.nodes.iter().map(|&id| (id, n)));
        }
        // A box lies below those that it reads.
        let mut ranks = vec![0usize; blocks.len()];
        let mut edges = Vec::new();
        for (n, block) in blocks.iter().enumerate() {
            for &input in graph.node(block.nodes[0]).inputs() {
                let from = of[&input];
                ranks[n] = ranks[n].max(ranks[from] + 1);
                edges.push((from, n, graph.node(input).shape().to_vec()));
            }
        }
        // A line that goes past a row of boxes has a place of its own in it.
        let sizes: Vec<(f64, f64)> = blocks.iter().map(size).collect();
        let mut vertices: Vec<(u32, (f64, f64))> = (0u32..).zip(sizes.iter().copied()).collect();
        let mut links: Vec<(u32, u32)> = Vec::new();
        let mut lines = Vec::new();
        for (from, to, shape) in edges {
            let mut path = vec![from as u32];
            for _ in ranks[from] + 1..ranks[to] {
                let corner = vertices.len() as u32;
                vertices.push((corner, (1.0, 1.0)));
                path.push(corner);
            }
            path.push(to as u32);
            links.extend(path.windows(2).map(|pair| (pair[0], pair[1])));
            lines.push((shape, path));
        }
        let mut rank_of: HashMap<u32, usize> = (0u32..).zip(ranks.iter().copied()).collect();
        for (_, path) in &lines {
            let start = rank_of[&path[0]];
            for (n, corner) in path.iter().enumerate().take(path.len() - 1).skip(1) {
                rank_of.insert(*corner, start + n);
            }
        }
        links.sort_unstable();
        links.dedup();
        let config = Config {
            vertex_spacing: GAP,
            ranking_type: RankingType::Up,
            transpose: vertices.len() < 400,
            ..Config::default()
        };
        let mut across: HashMap<u32, f64> = HashMap::new();
        let mut right = MARGIN;
        for (layout, _, _) in rust_sugiyama::from_vertices_and_edges(&vertices, &links, &config) {
            let left = layout
                .iter()
                .map(|&(id, (x, _))| x - vertices[id].1.0 / 2.0)
                .fold(f64::INFINITY, f64::min);
            let mut end = right;
            for &(id, (x, _)) in &layout {
                let x = x - left + right;
                end = end.max(x + vertices[id].1.0 / 2.0);
                across.insert(id as u32, x);
            }
            right = end + GAP;
        }
        // Rows as high as their highest box.
        let mut heights = vec![0.0f64; ranks.iter().max().map_or(1, |last| last + 1)];
        for (&rank, &(_, height)) in ranks.iter().zip(&sizes) {
            heights[rank] = heights[rank].max(height);
        }
        let mut tops = vec![MARGIN / 2.0];
        for height in &heights {
            tops.push(tops[tops.len() - 1] + height + GAP);
        }
        let middle = |rank: usize| tops[rank] + heights[rank] / 2.0;
        let places: Vec<[f64; 4]> = (0..blocks.len())
            .map(|n| [across[&(n as u32)], middle(ranks[n]), sizes[n].0, sizes[n].1])
            .collect();
        let edges = lines.into_iter().map(|(shape, path)| {
            let (from, to) = (places[path[0] as usize], places[path[path.len() - 1] as usize]);
            let mut points = vec![(from[0], from[1] + from[3] / 2.0)];
            for corner in &path[1..path.len() - 1] {
                let rank = rank_of[corner];
                points.push((across[corner], tops[rank]));
                points.push((across[corner], tops[rank] + heights[rank]));
            }
            points.push((to[0], to[1] - to[3] / 2.0));
            (by(&shape), points)
        });
        let edges: Vec<_> = edges.collect();
        let weights = graph
            .nodes()
            .iter()
            .filter(|node| matches!(node.op(), Op::Conv(_)))
            .count();
        Self {
            title: title.to_owned(),
            count: format!("{} nodes, {weights} convolutions", graph.nodes().len()),
            edges,
            width: (right + MARGIN)
                .max(CHAR * 1.6 * title.chars().count() as f64)
                .max(320.0),
            height: tops[tops.len() - 1] + MARGIN,
            places,
            blocks,
            graph,
        }
    }

    fn color(&self, block: &Block) -> RGBColor {
        match self.graph.node(block.nodes[0]).op() {
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear(_) => RGBColor(214, 230, 245),
            Op::Input { .. } | Op::Constant(_) => RGBColor(235, 235, 235),
            Op::Binary(_) | Op::MatMul | Op::Concat { .. } => RGBColor(252, 233, 205),
            _ => RGBColor(226, 240, 217),
        }
    }
}

/// Width and height of a box.
fn size(block: &Block) -> (f64, f64) {
    let longest = block
        .lines
        .iter()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0);
    (
        CHAR * longest as f64 + 16.0,
        LINE * block.lines.len() as f64 + 10.0,
    )
}

impl Picture for Drawing<'_> {
    fn on<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B::ErrorType> {
        let area = heading(area, &[self.title.clone(), self.count.clone()])?;
        let at = |(x, y): (f64, f64)| (x.round() as i32, y.round() as i32);
        let grey = RGBColor(120, 120, 120);
        for (_, points) in &self.edges {
            let points: Vec<_> = points.iter().copied().map(at).collect();
            area.draw(&PathElement::new(points, grey))?;
        }
        for (block, &[x, y, width, height]) in self.blocks.iter().zip(&self.places) {
            let corners = [
                at((x - width / 2.0, y - height / 2.0)),
                at((x + width / 2.0, y + height / 2.0)),
            ];
            area.draw(&Rectangle::new(corners, self.color(block).filled()))?;
            area.draw(&Rectangle::new(corners, grey))?;
            for (n, line) in block.lines.iter().enumerate() {
                let place = at((x - width / 2.0 + 8.0, y - height / 2.0 + 6.0 + LINE * n as f64));
                let size = if n == 0 { 13 } else { 12 };
                area.draw(&Text::new(line.clone(), place, (FONT, size).into_font()))?;
            }
        }
        for (shape, points) in &self.edges {
            // Beside its start: all lines that start there carry the same.
            let start = points[0];
            let place = at((start.0 + 4.0, start.1 + 3.0));
            area.draw(&Text::new(
                shape.clone(),
                place,
                (FONT, 11).into_font().color(&grey),
            ))?;
        }
        Ok(())
    }
}
