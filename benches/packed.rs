//! Packed networks: pictures a second, milliseconds a batch and peak memory. Prints one line of JSON.
//!
//! ```text
//! cargo bench --bench packed -- write FOLDER        # CNN-8 and ResNet-20, random weights, whole and pruned
//! cargo bench --no-default-features --features packed --bench packed -- run FILE --batch 256 --threads 2
//! cargo bench --no-default-features --features packed --bench packed -- compare WHOLE PRUNED --batch 1 --threads 1
//! cargo bench --no-default-features --features packed --bench packed -- steps FILE
//! ```
//!
//! `benches/peers/packed_ratios.py` runs it in turn with the same networks in PyTorch and ONNX Runtime. How fast a packed
//! network is does not depend on what its weights are.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use vwc_sdk::packed::{Machine, Model, Session};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match &args[..] {
        #[cfg(feature = "train")]
        ["write", folder] => write(Path::new(folder)),
        ["run", file, flags @ ..] => run(Path::new(file), flags),
        ["steps", file] => steps(Path::new(file)),
        ["compare", whole, pruned, flags @ ..] => compare([whole, pruned].map(Path::new), flags),
        // What `cargo bench` without arguments does.
        [] => println!("nothing to do: see the top of benches/packed.rs"),
        _ => panic!(
            "expected `run FILE`, `compare WHOLE PRUNED`, `steps FILE`, or, in a build with networks, `write FOLDER`, found {args:?}"
        ),
    }
}

/// What stands behind a flag.
fn flag(flags: &[&str], name: &str, default: &str) -> String {
    let at = flags.iter().position(|flag| *flag == name);
    at.map_or(default, |at| flags[at + 1]).to_owned()
}

/// Two networks in turn: how much faster the second is, beside how much fewer products it takes.
fn compare(files: [&Path; 2], flags: &[&str]) {
    let number = |name: &str, default: &str| flag(flags, name, default).parse::<usize>().expect("a number");
    let (batch, threads, rounds) = (
        number("--batch", "1"),
        number("--threads", "1"),
        number("--rounds", "400"),
    );
    let models = files.map(|file| Model::open(file).expect("a packed network"));
    let [height, width] = models[0].input();
    let pictures: Vec<u8> = (0..batch * height * width * 3)
        .map(|n| (n * 37 % 255) as u8)
        .collect();
    let mut sessions = [0, 1].map(|n| Session::new(&models[n]).with_threads(threads));
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..rounds {
        for (session, times) in sessions.iter_mut().zip(&mut times) {
            let start = Instant::now();
            black_box(session.logits(black_box(&pictures)));
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let [whole, pruned] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2] * 1e3
    });
    let [[floats, codes], [floats_left, codes_left]] = [0, 1].map(|n| models[n].multiplications());
    println!(
        "{}",
        serde_json::json!({
            "network": format!("{} {}", models[0].network(), models[0].precision()),
            "batch": batch,
            "threads": threads,
            "whole_ms": whole,
            "pruned_ms": pruned,
            "faster": whole / pruned,
            "fewer_products": (floats + codes) as f64 / (floats_left + codes_left) as f64,
            "fewer_products_of_codes": codes as f64 / codes_left as f64,
            "fewer_products_of_floats": floats as f64 / floats_left as f64,
        })
    );
}

fn run(file: &Path, flags: &[&str]) {
    let flag = |name: &str, default: &str| flag(flags, name, default);
    let number = |name: &str, default: &str| flag(name, default).parse::<usize>().expect("a number");
    let (batch, threads) = (number("--batch", "256"), number("--threads", "2"));
    let time = Duration::from_millis(number("--ms", "2000") as u64);
    let machine = flag("--machine", &Machine::detect().to_string());
    let machine = Machine::available()
        .find(|m| m.to_string() == machine)
        .expect("a machine that is here");

    let model = Model::open(file).expect("a packed network");
    let [height, width] = model.input();
    let pictures: Vec<u8> = (0..batch * height * width * 3)
        .map(|n| (n * 37 % 255) as u8)
        .collect();
    let mut session = Session::new(&model).with_machine(machine).with_threads(threads);
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < time || times.len() < 6 {
        let start = Instant::now();
        black_box(session.logits(black_box(&pictures)));
        times.push(start.elapsed().as_secs_f64());
    }
    // The first fills the caches.
    times.remove(0);
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!(
        "{}",
        serde_json::json!({
            "network": format!("{} {}", model.network(), model.precision()),
            "machine": machine.to_string(),
            "batch": batch,
            "threads": threads,
            "ms": median * 1e3,
            "pictures_per_s": batch as f64 / median,
            "peak_mib": peak_mib(),
        })
    );
}

/// Microseconds of every step of one picture on one thread, the median of two thousand pictures.
fn steps(file: &Path) {
    let model = Model::open(file).expect("a packed network");
    let [height, width] = model.input();
    let picture: Vec<u8> = (0..height * width * 3).map(|n| (n * 37 % 255) as u8).collect();
    let mut session = Session::new(&model);
    let mut times: Vec<(String, Vec<f64>)> = Vec::new();
    for _ in 0..2000 {
        let (mut n, mut since) = (0, Instant::now());
        session.observe(&picture, &mut |feature| {
            let time = since.elapsed().as_secs_f64();
            if n == times.len() {
                times.push((feature.layer.to_owned(), Vec::new()));
            }
            times[n].1.push(time);
            n += 1;
            since = Instant::now();
        });
    }
    for (layer, times) in &mut times {
        times.sort_by(f64::total_cmp);
        println!("{layer}\t{:.2}", times[times.len() / 2] * 1e6);
    }
}

/// The most memory that this process has taken, in MiB; 0 where the system does not say.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024)
}

#[cfg(feature = "train")]
fn write(folder: &Path) {
    use vwc_sdk::data::PictureSpec;
    use vwc_sdk::models::{Cnn8Config, NetworkConfig, ResNet20Config};
    use vwc_sdk::packed::freeze;
    use vwc_sdk::quant::Bits;

    fn save<C: NetworkConfig>(config: &C, folder: &Path, name: &str) {
        let network = config.init(&burn::tensor::Device::default());
        let model = freeze(&network, &PictureSpec::numbered(config.input(), config.classes()))
            .expect("it can be packed");
        let path = folder.join(format!("{name}.vwcp"));
        model.save(&path).expect("a folder that can be written to");
        let length = std::fs::metadata(&path).expect("just written").len();
        println!(
            "{}: {length} bytes, {} as floats",
            path.display(),
            model.float_size()
        );
    }

    let cnn8 = Cnn8Config::new();
    save(&cnn8, folder, "cnn8-w1a1");
    save(
        &cnn8.clone().with_widths([18, 21, 27, 60, 60, 60, 256]),
        folder,
        "cnn8-w1a1-rcp1",
    );
    for bits in [Bits::ONE, Bits::TWO] {
        let resnet20 = ResNet20Config::new()
            .with_weight_bits(Bits::ONE)
            .with_activation_bits(bits);
        save(&resnet20, folder, &format!("resnet20-w1a{bits}"));
        let pruned = resnet20.with_widths([42, 112, 224]);
        save(&pruned, folder, &format!("resnet20-w1a{bits}-rcp1"));
    }
}
