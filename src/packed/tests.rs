//! Random networks, on every machine, against sums of plain integers and floats; and their files, damaged in every way.

use proptest::prelude::*;

use super::layout::pack_weights;
use super::spec::{Act, Op, PackedThen, Plan, Spec, Step, Then, Window};
use super::tensor::{Tensor, Words};
use super::{Machine, Model, PackedError, Session};

/// Miri computes a thousand times as slowly: networks are smaller there, and fewer.
const SIDES: std::ops::RangeInclusive<usize> = if cfg!(miri) { 6..=8 } else { 12..=22 };
const KERNELS: [usize; 2] = if cfg!(miri) { [2, 2] } else { [4, 5] };
const MOST_CHANNELS: [usize; 2] = if cfg!(miri) { [70, 20] } else { [200, 70] };
const MOST_OUTPUTS: usize = if cfg!(miri) { 18 } else { 50 };
const CASES: usize = if cfg!(miri) { 2 } else { 20 };
const PICTURES: usize = if cfg!(miri) { 2 } else { 5 };
const SUMS: usize = if cfg!(miri) { 500 } else { 1_000_000 };

/// Numbers that look random, the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn within(&mut self, range: std::ops::RangeInclusive<usize>) -> usize {
        range.start() + self.next() as usize % (range.end() - range.start() + 1)
    }

    fn float(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 30) as f32 - 1.0
    }

    fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }
}

/// A random network: a convolution in full precision, a quantiser, two packed convolutions of the same weights and
/// codes, one of which gives its sums and the other codes, and the mean of the sums.
struct Case {
    spec: Spec,
    float: Window,
    packed: Window,
    channels: usize,
    outputs: usize,
    bits: u32,
    weight_levels: i32,
    weights: Vec<u8>,
    /// `[level, output]`.
    thresholds: Vec<i32>,
    pool: bool,
}

impl Case {
    fn new(random: &mut Random) -> Self {
        let window = |random: &mut Random, most: usize| {
            let kernel = [random.within(1..=most), random.within(1..=most)];
            Window {
                kernel,
                stride: [random.within(1..=2), random.within(1..=2)],
                padding: kernel.map(|kernel| random.within(0..=kernel / 2)),
            }
        };
        let (float, packed) = (window(random, KERNELS[0]), window(random, KERNELS[1]));
        let channels = match random.within(0..=3) {
            0 => random.within(1..=MOST_CHANNELS[0]),
            1 => 64 * random.within(1..=2),
            _ => random.within(1..=MOST_CHANNELS[1]),
        };
        let outputs = random.within(1..=MOST_OUTPUTS);
        let [bits, weight_bits, bits_out] = [0; 3].map(|_| random.within(1..=4) as u32);
        let size = |side: usize, window: &Window, d: usize| {
            (side + 2 * window.padding[d] - window.kernel[d]) / window.stride[d] + 1
        };
        let input = [random.within(SIDES), random.within(SIDES)];
        let sums = [0, 1].map(|d| {
            let side = size(input[d], &float, d);
            (side + 2 * packed.padding[d])
                .checked_sub(packed.kernel[d])
                .map(|_| size(side, &packed, d))
        });
        let [Some(height), Some(width)] = sums else {
            return Self::new(random);
        };
        let pool = height > 1 && width > 1 && random.within(0..=1) == 1;
        let filter = packed.kernel[0] * packed.kernel[1] * channels;
        let weights: Vec<u8> = (0..outputs * filter)
            .map(|_| random.within(0..=(1 << weight_bits) - 1) as u8)
            .collect();
        let words = pack_weights(&packed, channels, outputs, weight_bits, &weights);
        let thresholds: Vec<i32> = (0..((1 << bits_out) - 1) * outputs)
            .map(|_| random.within(0..=8 * filter) as i32 - 4 * filter as i32)
            .collect();
        let mut tensors = Vec::new();
        let mut floats = |x: Vec<f32>| {
            tensors.push(Tensor::F32(x));
            tensors.len() - 1
        };
        let taps = float.kernel[0] * float.kernel[1];
        let normalization = floats(vec![0.5, 0.4, 0.3, 0.25, 0.5, 0.75]);
        let weight = floats(random.floats(channels * 3 * taps));
        let bias = Some(floats(random.floats(channels)));
        let affine = Some([0; 3].map(|_| floats(random.floats(channels))));
        let unit = floats(vec![1.0]);
        let [word_id, threshold_id] = [tensors.len(), tensors.len() + 1];
        tensors.push(Tensor::Words(Words::Owned(words)));
        tensors.push(Tensor::I32(thresholds.clone()));
        let packed_op = |then| Op::Packed {
            window: packed,
            outputs,
            weight_bits,
            weight: word_id,
            then,
        };
        let ops = [
            (
                0,
                Op::Float {
                    window: float,
                    weight,
                    bias,
                    affine: None,
                    pool: false,
                    then: Then::Floats { act: Act::Identity },
                },
            ),
            (1, Op::Quantize { affine, bits }),
            (
                2,
                packed_op(PackedThen::Floats {
                    unit,
                    added: None,
                    affine: None,
                    act: Act::Identity,
                }),
            ),
            (
                2,
                packed_op(PackedThen::Codes {
                    bits: bits_out,
                    pool,
                    thresholds: threshold_id,
                }),
            ),
            (
                3,
                Op::Mean {
                    affine: None,
                    act: Act::Identity,
                },
            ),
        ];
        let steps = (ops.into_iter().enumerate())
            .map(|(n, (input, op))| Step {
                name: format!("step {n}"),
                input,
                op,
            })
            .collect();
        let plan = Plan {
            network: "a random network".into(),
            precision: format!("W{weight_bits}A{bits}"),
            classes: (0..outputs).map(|n| n.to_string()).collect(),
            input,
            channels: [0, 1, 2],
            normalization,
            steps,
        };
        Self {
            spec: Spec { plan, tensors },
            float,
            packed,
            channels,
            outputs,
            bits,
            weight_levels: (1 << weight_bits) - 1,
            weights,
            thresholds,
            pool,
        }
    }

    fn picture(&self, random: &mut Random) -> Vec<u8> {
        let [height, width] = self.spec.plan.input;
        (0..height * width * 3).map(|_| random.next() as u8).collect()
    }
}

/// Numbers of feature maps, and `[height, width, channels]`.
#[derive(Clone, Debug, PartialEq)]
struct Maps(Vec<f32>, [usize; 3]);

impl Maps {
    /// 0 outside.
    fn get(&self, y: isize, x: isize, channel: usize) -> f32 {
        let Self(numbers, [height, width, channels]) = self;
        if y < 0 || x < 0 || y >= *height as isize || x >= *width as isize {
            return 0.0;
        }
        numbers[(y as usize * width + x as usize) * channels + channel]
    }

    /// Sums over a window, each started with `start(output)` and continued with `add(sum, x, place of the weight)`.
    fn convolved<T: Copy>(
        &self,
        window: &Window,
        outputs: usize,
        start: impl Fn(usize) -> T,
        add: impl Fn(T, f32, usize) -> T,
    ) -> (Vec<T>, [usize; 2]) {
        let [height, width, channels] = self.1;
        let [down, across] = window.kernel;
        let size = [(height, 0), (width, 1)]
            .map(|(side, d)| (side + 2 * window.padding[d] - window.kernel[d]) / window.stride[d] + 1);
        let mut sums = Vec::new();
        for y in 0..size[0] {
            for x in 0..size[1] {
                for output in 0..outputs {
                    let mut sum = start(output);
                    for row in 0..down {
                        for column in 0..across {
                            for channel in 0..channels {
                                let from = self.get(
                                    (y * window.stride[0] + row) as isize - window.padding[0] as isize,
                                    (x * window.stride[1] + column) as isize - window.padding[1] as isize,
                                    channel,
                                );
                                let at = ((output * channels + channel) * down + row) * across + column;
                                sum = add(sum, from, at);
                            }
                        }
                    }
                    sums.push(sum);
                }
            }
        }
        (sums, size)
    }
}

/// What each step computes on a machine, and the logits.
fn computed(mut session: Session<'_>, picture: &[u8]) -> (Vec<Maps>, Vec<f32>) {
    let mut maps = Vec::new();
    let logits = session.observe(picture, &mut |feature| {
        let [height, width] = feature.size;
        let places = (0..height).flat_map(|y| (0..width).map(move |x| [y, x]));
        let numbers = places.flat_map(|place| (0..feature.channels).map(move |channel| (place, channel)));
        let numbers = numbers
            .map(|(place, channel)| feature.get(place, channel))
            .collect();
        maps.push(Maps(numbers, [height, width, feature.channels]));
    });
    let logits = logits.to_vec();
    (maps, logits)
}

#[test]
fn every_machine_computes_a_million_random_sums_as_plain_numbers_do() {
    let mut random = Random(1);
    let (mut sums_compared, mut fast) = (0, Vec::new());
    while sums_compared < SUMS {
        let case = Case::new(&mut random);
        let picture = case.picture(&mut random);
        let Tensor::F32(weight) = &case.spec.tensors[1] else {
            unreachable!()
        };
        let Tensor::F32(bias) = &case.spec.tensors[2] else {
            unreachable!()
        };
        let (weight, bias) = (weight.clone(), bias.clone());
        let model = Model::new(case.spec.clone()).unwrap();
        let computed = |machine| computed(Session::new(&model).with_machine(machine), &picture);
        let mut all = Machine::available().map(|machine| (machine, computed(machine)));

        // The first against plain numbers, the others against the first.
        let (machine, first) = all.next().unwrap();
        let (maps, _) = &first;
        let [height, width] = case.spec.plan.input;
        let normalized = (picture.chunks_exact(3))
            .flat_map(|pixel| (0..3).map(|c| model.bytes[c][usize::from(pixel[c])]))
            .collect();
        let normalized = Maps(normalized, [height, width, 3]);
        let (floats, _) = normalized.convolved(
            &case.float,
            case.channels,
            |output| bias[output],
            |sum, x, at| x.mul_add(weight[at], sum),
        );
        assert!(floats == maps[0].0, "{machine}: floats of {:?}", case.float);
        let (sums, [_, width]) = maps[1].convolved(
            &case.packed,
            case.outputs,
            |_| 0i32,
            |sum, x, at| sum + x as i32 * (2 * i32::from(case.weights[at]) - case.weight_levels),
        );
        let exact: Vec<f32> = sums.iter().map(|&sum| sum as f32).collect();
        assert!(
            exact == maps[2].0,
            "{machine}: sums of {:?}, {} channels of {} bits",
            case.packed,
            case.channels,
            case.bits
        );
        let [pooled_height, pooled_width, _] = maps[3].1;
        let lines = if case.pool { 2 } else { 1 };
        for y in 0..pooled_height {
            for x in 0..pooled_width {
                for output in 0..case.outputs {
                    let square = (0..lines * lines).map(|n| {
                        let at = (lines * y + n / lines) * width + lines * x + n % lines;
                        sums[at * case.outputs + output]
                    });
                    let largest = square.max().unwrap();
                    let thresholds = case.thresholds.iter().skip(output).step_by(case.outputs);
                    let code = thresholds.filter(|&&threshold| largest >= threshold).count();
                    assert_eq!(
                        maps[3].get(y as isize, x as isize, output),
                        code as f32,
                        "{machine}"
                    );
                }
            }
        }
        for (machine, other) in all {
            assert!(other == first, "{machine} gives other results");
            fast.push(machine);
        }
        sums_compared += sums.len();
    }
    // The portable one is everywhere: another was first where there is another.
    assert!(Machine::available().count() == 1 || fast.contains(&Machine::Portable));
}

#[test]
fn threads_change_nothing() {
    let mut random = Random(2);
    for _ in 0..if cfg!(miri) { 1 } else { CASES } {
        let case = Case::new(&mut random);
        let model = Model::new(case.spec.clone()).unwrap();
        let pictures: Vec<u8> = (0..PICTURES).flat_map(|_| case.picture(&mut random)).collect();
        let picture = pictures.len() / PICTURES;
        let one = Session::new(&model).logits(&pictures).to_vec();
        let steps = computed(Session::new(&model), &pictures[..picture]);
        // Where hardly any work is worth it, all of seven threads and more have a row's outputs together in small maps.
        for &threads in if cfg!(miri) { &[3][..] } else { &[2, 3, 7, 40] } {
            for &worth_it in if cfg!(miri) { &[1][..] } else { &[1 << 15, 1] } {
                let session = || {
                    let mut session = Session::new(&model).with_threads(threads);
                    session.worth_it = worth_it;
                    session
                };
                assert_eq!(session().logits(&pictures), one);
                assert_eq!(session().logits(&pictures[..picture]), &one[..case.outputs]);
                assert!(computed(session(), &pictures[..picture]) == steps);
            }
        }
    }
}

#[test]
fn safetensors_hold_the_signed_weights_and_thresholds() {
    let mut random = Random(5);
    for _ in 0..CASES {
        let case = Case::new(&mut random);
        let bytes = Model::new(case.spec.clone()).unwrap().to_safetensors();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let weight = file.tensor("step 2.weight").unwrap();
        let [down, across] = case.packed.kernel;
        assert_eq!(weight.shape(), [case.outputs, case.channels, down, across]);
        for (&found, &code) in weight.data().iter().zip(&case.weights) {
            assert_eq!(i32::from(found as i8), 2 * i32::from(code) - case.weight_levels);
        }
        let thresholds = file.tensor("step 3.thresholds").unwrap();
        let numbers = thresholds.data().as_chunks::<4>().0.iter();
        let numbers: Vec<i32> = numbers.map(|&bytes| i32::from_le_bytes(bytes)).collect();
        assert_eq!(numbers, case.thresholds);
    }
}

fn refused(bytes: &[u8]) -> PackedError {
    Model::from_bytes(bytes).expect_err("it is refused")
}

/// `bytes` with a length and checksum that fit.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len() as u64;
    bytes[16..24].copy_from_slice(&length.to_le_bytes());
    let sum = crc32fast::hash(&bytes[16..]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
#[cfg_attr(miri, ignore = "a file is mapped, which Miri cannot do")]
fn a_file_gives_back_its_network() {
    let mut random = Random(3);
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..CASES {
        let case = Case::new(&mut random);
        let picture = case.picture(&mut random);
        let model = Model::new(case.spec).unwrap();
        let expected = Session::new(&model).logits(&picture).to_vec();
        let path = folder.path().join("network.vwcp");
        model.save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for read in [Model::open(&path).unwrap(), Model::from_bytes(&bytes).unwrap()] {
            assert_eq!(Session::new(&read).logits(&picture), expected);
            assert_eq!(read.to_bytes(), bytes);
            assert_eq!(read.classes(), model.classes());
        }
    }
}

#[test]
fn damaged_files_are_refused_each_with_its_reason() {
    let bytes = Model::new(Case::new(&mut Random(4)).spec).unwrap().to_bytes();
    let says = |bytes: &[u8], what: &str| {
        let message = refused(bytes).to_string();
        assert!(message.contains(what), "{message}: expected '{what}'");
    };
    says(&[], "too short");
    says(&bytes[..31], "too short");
    says(&bytes[..bytes.len() - 1], "bytes long, and was");
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    says(&other, "checksum");
    let mut other = bytes.clone();
    other[0] = b'X';
    says(&other, "does not begin as one");
    let mut later = bytes.clone();
    later[8] = 4;
    says(&later, "version 4 of the layout, and this build reads version 3");
    let mut long = bytes.clone();
    long[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
    says(&sealed(long), "more than the file");
    let mut plan = bytes;
    plan[32] = b'[';
    says(&sealed(plan), "plan cannot be read");
}

#[test]
#[cfg_attr(
    miri,
    ignore = "hundreds of thousands of numbers are looked at, all of it in safe code"
)]
fn a_file_takes_no_more_memory_than_it_may() {
    let bytes = Model::new(Case::new(&mut Random(5)).spec).unwrap().to_bytes();
    let plan_len = u64::from_le_bytes(bytes[24..32].try_into().unwrap()) as usize;
    let mut plan: serde_json::Value = serde_json::from_slice(&bytes[32..][..plan_len]).unwrap();
    let tensors = plan["tensors"].as_array_mut().unwrap();
    let longest = tensors.iter().max_by_key(|entry| entry["len"].as_u64()).unwrap();
    *tensors = vec![longest.clone(); 1000];
    let plan = serde_json::to_vec(&plan).unwrap();
    let mut overlapping = bytes[..32].to_vec();
    overlapping[24..32].copy_from_slice(&(plan.len() as u64).to_le_bytes());
    overlapping.extend(&plan);
    overlapping.resize((32 + plan.len()).next_multiple_of(64), 0);
    overlapping.extend(&bytes[(32 + plan_len).next_multiple_of(64)..]);
    let message = refused(&sealed(overlapping)).to_string();
    assert!(message.contains("within another one"), "{message}");

    // Little to keep, and a row of sums of 4 GiB.
    let mut case = Case::new(&mut Random(5));
    let outputs = 1 << 16;
    case.spec.plan.input = [2, 1 << 12];
    case.spec.tensors[1] = Tensor::F32(vec![1.0; 3 * outputs]);
    case.spec.plan.steps[0].op = Op::Float {
        window: Window {
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
        },
        weight: 1,
        bias: None,
        affine: None,
        pool: true,
        then: Then::Codes { bits: 1 },
    };
    let message = Model::new(case.spec).unwrap_err().to_string();
    assert!(
        message.contains("step 0") && message.contains("bytes of memory"),
        "{message}"
    );
}

/// A step pads what an earlier step computes, which is laid out with that padding first.
#[test]
fn padding_is_checked_before_it_is_used() {
    for padding in [usize::MAX, usize::MAX / 2, 1 << 62, 1 << 32] {
        let mut case = Case::new(&mut Random(6));
        for step in &mut case.spec.plan.steps {
            if let Op::Packed { window, .. } = &mut step.op {
                window.padding = [padding, padding];
            }
        }
        let message = Model::new(case.spec).unwrap_err().to_string();
        assert!(
            message.contains("step 2") && message.contains("padding under the kernel"),
            "{message}"
        );
    }
}

#[test]
fn numbers_that_are_none_are_refused_by_the_step_that_reads_them() {
    let refused = |tensor: usize| {
        let mut case = Case::new(&mut Random(6));
        let Tensor::F32(numbers) = &mut case.spec.tensors[tensor] else {
            panic!("tensor {tensor} is none of floats")
        };
        numbers[0] = f32::NAN;
        Model::new(case.spec).unwrap_err().to_string()
    };
    assert!(
        refused(0).contains("normalises by means of [NaN"),
        "{}",
        refused(0)
    );
    for (tensor, step) in [(1, "step 0"), (2, "step 0"), (4, "step 1"), (6, "step 2")] {
        let message = refused(tensor);
        let expected = format!("tensor {tensor} holds something other than finite");
        assert!(message.contains(step) && message.contains(&expected), "{message}");
    }
}

#[test]
fn classes_of_one_name_are_refused() {
    let mut spec = Case::new(&mut Random(7)).spec;
    spec.plan.classes[0] = "1".into();
    let message = Model::new(spec).unwrap_err().to_string();
    assert!(message.contains("two of its classes are called `1`"), "{message}");
}

#[test]
fn names_that_a_terminal_would_obey_are_refused() {
    let mut spec = Case::new(&mut Random(7)).spec;
    for (name, reason) in [
        ("\u{1b}[2Jcat".to_owned(), "control characters"),
        ("\u{202e}cat".to_owned(), "control characters"),
        ("c".repeat(5000), "5000 bytes long"),
    ] {
        spec.plan.classes[0] = name;
        let message = Model::new(spec.clone()).unwrap_err().to_string();
        assert!(message.contains(reason) && message.len() < 200, "{message}");
        assert!(!message.contains(['\u{1b}', '\u{202e}']), "{message}");
    }
}

/// Numbers in place of others in a plan.
const HOSTILE: [&str; 12] = [
    "0",
    "1",
    "2",
    "3",
    "5",
    "17",
    "63",
    "4096",
    "65536",
    "4294967296",
    "18446744073709551615",
    "-1",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 2000 }, failure_persistence: None, ..ProptestConfig::default() })]

    /// A checksum finds what was damaged; where somebody mends it, what is left is refused, or computes something.
    #[test]
    fn no_file_makes_a_reader_panic(seed in 0u64..50, changes in prop::collection::vec((any::<u32>(), any::<u32>()), 1..4), mend: bool) {
        let bytes = Model::new(Case::new(&mut Random(seed)).spec).unwrap().to_bytes();
        let plan_len = u64::from_le_bytes(bytes[24..32].try_into().unwrap()) as usize;
        let begin = (32 + plan_len).next_multiple_of(64);
        let damaged = if mend {
            // Numbers of the plan are replaced.
            let mut plan = String::from_utf8(bytes[32..][..plan_len].to_vec()).unwrap();
            for (place, what) in changes {
                let digits: Vec<usize> = plan.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
                let at = digits[place as usize % digits.len()];
                let end = at + plan[at..].find(|c: char| !c.is_ascii_digit()).unwrap();
                plan.replace_range(at..end, HOSTILE[what as usize % HOSTILE.len()]);
            }
            let mut damaged = bytes[..32].to_vec();
            damaged[24..32].copy_from_slice(&(plan.len() as u64).to_le_bytes());
            damaged.extend(plan.as_bytes());
            damaged.resize((32 + plan.len()).next_multiple_of(64), 0);
            damaged.extend(&bytes[begin..]);
            sealed(damaged)
        } else {
            let mut damaged = bytes.clone();
            for (place, what) in changes {
                let at = place as usize % damaged.len();
                damaged[at] ^= (what % 255 + 1) as u8;
            }
            if damaged != bytes {
                refused(&damaged);
            }
            // And the same behind a checksum that fits.
            sealed(damaged)
        };
        if let Ok(model) = Model::from_bytes(&damaged) {
            let [height, width] = model.input();
            if height * width <= 1 << 12 {
                Session::new(&model).logits(&vec![200; height * width * 3]);
            }
        }
    }
}
