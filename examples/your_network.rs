//! A network of plain Burn layers goes the whole way: trained in full precision on digits that the program draws itself,
//! quantised to 2-bit weights and activations, pruned in rounds to what an array computes fastest, mapped, run on simulated
//! arrays, packed and exported. Two to three minutes on two cores.

use burn::tensor::Device;
use vwc_sdk::data::{DataSource, Splits};
use vwc_sdk::graph::OnnxExport;
use vwc_sdk::mapping::{MappingConfig, Method, PimArray};
use vwc_sdk::models::{Network, NetworkConfig};
use vwc_sdk::module::Parameters;
use vwc_sdk::packed::{Model, compare};
use vwc_sdk::quant::Bits;
use vwc_sdk::report::layer_table;
use vwc_sdk::simulate::SimulatedNetwork;
use vwc_sdk::train::{
    FitOptions, Recipe, Round, RoundsConfig, RunDir, evaluate, evaluate_with, fit, initial, rounds,
};
use vwc_sdk::{Error, crossbar};

#[path = "your_network/network.rs"]
mod network;

use network::{Mobile, MobileConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let devices = [device.clone()];
    let source = DataSource::Synthetic { pictures: 4000 };
    let pictures = source.load(MobileConfig::new().input())?;
    let splits = Splits::carve(source.to_string(), pictures.train, pictures.test, 0.15, 0)?;
    let train = |network: Mobile, name: &str, epochs, rate| {
        let recipe = Recipe::original(epochs)
            .with_batch_size(32)
            .with_learning_rate(rate);
        let run = RunDir::new(format!("runs/your_network/{name}"));
        fit(
            network,
            FitOptions::new(&splits, &recipe, run, &devices).with_label(name),
        )
    };
    let test = |what: &str, network: &Mobile| {
        let accuracy = evaluate(network, &splits.test, &device)?.accuracy();
        println!("{what}: {accuracy:.1} % of the test pictures");
        Ok::<_, Error>(())
    };

    let float = train(initial(&MobileConfig::new(), 0, &device)?, "float", 6, 0.01)?.network;
    test("full precision", &float)?;
    let quantized =
        Parameters::of(&float).put_into(MobileConfig::new().with_bits(Some(Bits::TWO)).init(&device))?;
    let quantized = train(quantized, "W2A2", 6, 0.005)?;

    let mapping = MappingConfig::new(PimArray::new(64, 64)?).with_weight_bits(2);
    let start = Round::new(
        "W2A2",
        quantized.network,
        quantized.best.valid_accuracy,
        &mapping,
        &[],
    )?;
    let budget = RoundsConfig::new(mapping, start.valid_accuracy)
        .with_budget(5.0)
        .with_max_rounds(2);
    let pruned = rounds(start, 0, &budget, |round, network| {
        let fit = train(network, &format!("RCP{round}"), 4, 0.002)?;
        Ok((fit.network, fit.best.valid_accuracy))
    })?;
    for Round { name, network, .. } in &pruned.rounds {
        test(name, network)?;
    }
    let winner = &pruned.rounds[pruned.winner];
    println!("{}", layer_table(&winner.layers, &winner.mappings));

    // From here on its graph: on arrays, packed, and as a file for others.
    let (graph, input) = (
        winner.network.graph()?,
        splits.test.spec(MobileConfig::new().input()),
    );
    let ideal = crossbar::Device::ideal(2);
    let mut arrays = SimulatedNetwork::new(&graph, &device, Method::VwSdk, &mapping, &ideal)?;
    let few = splits.test.sample(100, 0);
    let on_arrays = evaluate_with(&few, MobileConfig::new().input(), &device, |images| {
        arrays.forward(images)
    })?;
    println!(
        "on arrays: {:.1} % of {} of them",
        on_arrays.accuracy(),
        on_arrays.total
    );
    let model = Model::of(&graph, MobileConfig::NAME, &input)?;
    let packed = compare(&winner.network, &model, &splits.test, &input, &device)?;
    println!(
        "packed: {:.1} % of them, {} of another class than trained; {} bytes, {} as floats",
        100.0 * packed.right as f64 / packed.total as f64,
        packed.different,
        model.to_bytes().len(),
        model.float_size()
    );
    model.save("runs/your_network/mobile.vwcp".as_ref())?;
    let onnx = graph.to_onnx(&OnnxExport::new(MobileConfig::NAME))?;
    std::fs::write("runs/your_network/mobile.onnx", onnx)?;
    Ok(())
}
