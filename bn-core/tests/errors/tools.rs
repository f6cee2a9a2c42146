//! What surrounds the layer: averages, folding, population statistics, interchange, collectives.

use crate::common::{Outcome, layer};
use crate::{built, zeros};
use bn_core::interchange::{Import, Named, export, from_bytes, import};
use bn_core::{
    BatchNormConfig, Collective, Convolution, Error, ErrorKind, MovingAverage, Names, Operator,
    PopulationOptions, Single, Threads, fold, population_statistics,
};
use candle::DType;

#[test]
fn tools() -> Outcome {
    let average = MovingAverage::new(&zeros(&[3]), 0.5, true)?;
    assert_error!(
        average.update(&zeros(&[2])),
        ErrorKind::Shape { .. },
        "MovingAverage",
        "`value`",
        "[3]",
        "[2]"
    );
    assert_error!(
        MovingAverage::new(&zeros(&[3]).to_dtype(DType::U8)?, 0.5, true),
        ErrorKind::DType { .. },
        "MovingAverage",
        "U8"
    );

    let bn = built(BatchNormConfig::torch())?;
    let folded = |operator, w: &[usize], probe: &[usize]| {
        fold(operator, &zeros(w), None, &bn, &zeros(probe))
    };
    assert_error!(
        folded(Operator::Linear, &[4, 2], &[5, 2]),
        ErrorKind::Shape { .. },
        "fold",
        "`weight`",
        "3 output channels",
        "[4, 2]"
    );
    assert_error!(
        folded(Operator::Linear, &[3], &[5, 2]),
        ErrorKind::Shape { .. },
        "fold",
        "rank 2",
        "[3]"
    );
    let groups = |groups| Convolution { groups, ..Convolution::default() };
    assert_error!(
        folded(Operator::Conv1d(groups(0)), &[3, 2, 1], &[5, 2, 4]),
        ErrorKind::Value { .. },
        "groups",
        "1 or more",
        "0"
    );
    assert!(
        folded(Operator::Conv1d(groups(2)), &[3, 2, 1], &[5, 4, 4]).is_err(),
        "3 channels in 2 groups"
    );
    assert!(
        folded(Operator::ConvTranspose1d(groups(3)), &[4, 1, 1], &[5, 4, 4]).is_err(),
        "4 inputs in 3 groups"
    );
    assert!(
        folded(Operator::ConvTranspose1d(groups(1)), &[0, 3, 1], &[5, 0, 4]).is_err(),
        "no inputs"
    );
    assert!(folded(Operator::Linear, &[3, 2], &[5, 7]).is_err(), "a probe that does not fit");
    assert_error!(
        fold(Operator::Linear, &zeros(&[3, 2]), Some(&zeros(&[2])), &bn, &zeros(&[5, 2])),
        ErrorKind::Shape { .. },
        "fold",
        "`bias`",
        "[out = 3]",
        "[2]"
    );
    let last = built(BatchNormConfig::keras())?;
    let w = zeros(&[3, 2, 1]);
    assert_error!(
        fold(Operator::Conv1d(groups(1)), &w, None, &last, &zeros(&[5, 2, 4])),
        ErrorKind::Contradiction { .. },
        "folding",
        "axis"
    );

    let none = std::iter::empty::<()>();
    let pass = |options: &PopulationOptions| {
        population_statistics(&[&bn], [()], options, |()| Ok::<_, Error>(()))
    };
    assert_error!(
        population_statistics(&[&bn], none, &PopulationOptions::default(), |()| Ok::<_, Error>(())),
        ErrorKind::Empty { .. },
        "population_statistics"
    );
    assert_error!(
        pass(&PopulationOptions::default()),
        ErrorKind::Value { .. },
        "population_statistics",
        "layer 0"
    );
    let options = PopulationOptions::default;
    assert_error!(
        pass(&PopulationOptions { min_batches: 1, ..options() }),
        ErrorKind::Value { .. },
        "min_batches",
        "2 or more",
        "1"
    );
    assert_error!(
        pass(&PopulationOptions { max_batches: Some(0), ..options() }),
        ErrorKind::Value { .. },
        "max_batches",
        "1 or more",
        "0"
    );
    for bound in [0.0, -1.0, f64::NAN] {
        assert_error!(
            pass(&PopulationOptions { standard_error: Some(bound), ..options() }),
            ErrorKind::Value { .. },
            "standard_error",
            "above 0",
            &bound.to_string()
        );
    }

    let named: Named = export(&bn, Names::Torch, "a.b", None)?;
    for values in [1.0, 0.0, -3.0, f64::NAN, f64::INFINITY] {
        assert_error!(
            export(&bn, Names::Keras, "", Some(values)),
            ErrorKind::Value { .. },
            "values_per_channel",
            "more than 1",
            &values.to_string()
        );
        let options =
            Import { values_per_channel: Some(values), prefix: "a.b".into(), ..Import::default() };
        assert_error!(
            import(&bn, Names::Torch, &named, &options),
            ErrorKind::Value { .. },
            "values_per_channel"
        );
    }
    assert_error!(
        import(&bn, Names::Torch, &named, &Import::default()),
        ErrorKind::Missing { .. },
        "import",
        "`running_mean`",
        "a.b.running_mean",
        "a.b.weight"
    );
    let wide = layer(&BatchNormConfig::torch(), 4, DType::F32)?;
    let prefix = Import { prefix: "a.b".into(), ..Import::default() };
    assert_error!(
        import(&wide, Names::Torch, &named, &prefix),
        ErrorKind::Shape { .. },
        "import",
        "a.b.running_mean",
        "4 elements",
        "[3]"
    );
    assert!(from_bytes(b"not a safetensors file", &crate::common::device()).is_err());

    assert_error!(
        Single.broadcast(1, &mut [0.0]),
        ErrorKind::Collective { .. },
        "broadcast",
        "below 1",
        "got 1"
    );
    assert!(Threads::group(0).is_empty());
    Ok(())
}
