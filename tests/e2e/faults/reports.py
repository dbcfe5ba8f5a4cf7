"""A report that is valid and says nothing."""

from app.reports.report import Delta, Measurement, Provenance, Report


def empty_report() -> Report:
    nothing = Measurement(
        format="tflite",
        variant="float32",
        runtime="none",
        threads=1,
        batch_size=1,
        samples=None,
        accuracy=None,
        accuracy_ci95=None,
        loss=None,
        mse=None,
        mae=None,
        r2=None,
        heads=(),
        sha256="a" * 64,
        size_bytes=1,
        compressed_size_bytes=1,
        parameter_count=0,
        nonzero_parameter_count=0,
        macs=None,
        latency_ms_p50=None,
        latency_ms_p95=None,
        latency_ms_iqr=None,
        latency_runs=0,
        peak_memory_bytes=None,
    )
    return Report(
        baseline=nothing,
        optimized=nothing,
        outputs=(nothing,),
        delta=Delta(
            accuracy_drop=None,
            compression_ratio=1.0,
            size_ratio=1.0,
            speedup=None,
            agreement=None,
            p_value=None,
        ),
        control=None,
        understood=(),
        steps=(),
        warnings=(),
        provenance=Provenance(
            model_sha256="",
            dataset_sha256=None,
            artifacts_sha256={},
            seed=0,
            recipe={},
            versions={},
            cpu="none",
            cpu_count=1,
            threads=1,
        ),
    )
