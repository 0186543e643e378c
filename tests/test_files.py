"""Files: what comes back is what was saved, and what was not saved whole does not come back."""

import copy
import inspect
import json
import os
import pickle
import stat

import pytest
import safetensors.torch
import torch
from torch import nn
from zoo import NAMED, named_flow, perturb_

import flowkit
from flowkit import _atomic
from flowkit.distributions import registry
from flowkit.errors import ArgumentError, DtypeError, ModelFileError
from flowkit.files import check_document, flow_config, flow_from_config, read_file, write_file
from flowkit.flows import (
    BinaryMADE,
    BoxUniform,
    ConditionalNormal,
    DiagonalNormal,
    Flow,
    FullNormal,
    MixtureOfFlows,
    NormalMixture,
    StandardLogistic,
    StandardNormal,
    StudentT,
    TorchBase,
    architectures,
    binary_made,
    iaf,
    made,
    made_mog,
    maf,
    maf_mog,
    nice,
    nsf,
    planar,
    radial,
    real_nvp,
)
from flowkit.transforms import Affine, LULinear

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
SMALL = {"hidden": (8, 8)}
# Every option of every architecture somewhere away from its default.
OPTIONS = {
    "nice": lambda: nice(3, layers=3, base="normal", residual=True, activation="tanh", **SMALL),
    "real_nvp": lambda: real_nvp(3, layers=2, residual=True, batch_norm=True, **SMALL),
    "made": lambda: made(3, base="logistic", activation="gelu", **SMALL),
    "maf": lambda: maf(3, layers=2, residual=True, batch_norm=True, activation="elu", **SMALL),
    "maf_list": lambda: maf(3, hidden=[8], layers=1),
    "maf_narrow": lambda: maf(6, context_features=1, hidden=(2,), layers=2),
    "maf_range": lambda: maf(3, hidden=range(8, 10), layers=1),
    "iaf": lambda: iaf(3, layers=2, residual=True, activation="silu", **SMALL),
    "nsf": lambda: nsf(3, layers=2, bins=3, bound=2, limit=None, residual=True, **SMALL),
    "nsf_per_feature": lambda: nsf(
        3, layers=2, bound=[1.0, 2.5, 3.0], tails=("linear", "circular", "linear"), **SMALL
    ),
    "nsf_coupling": lambda: nsf(3, layers=2, tails="circular", coupling=True, **SMALL),
    "made_mog": lambda: made_mog(2, components=2, residual=True, **SMALL),
    "maf_mog": lambda: maf_mog(2, layers=1, components=2, batch_norm=True, **SMALL),
    "planar": lambda: planar(3, layers=2, base="logistic"),
    "radial": lambda: radial(3, layers=2, base="logistic"),
    "one_feature": lambda: real_nvp(1, **SMALL),
}
BASES = {
    "StandardNormal": lambda: StandardNormal((3,)),
    "StandardLogistic": lambda: StandardLogistic(3),
    "StudentT": lambda: StudentT(3, df=2.5),
    "BoxUniform": lambda: BoxUniform([-9.0, -8.1, -7.0], (9, 8.2, 7.0)),
    "DiagonalNormal": lambda: DiagonalNormal(3),
    "NormalMixture": lambda: NormalMixture(3, 2),
    "fitted": lambda: NormalMixture.fit(torch.randn(50, 3), 2),
    "FullNormal": lambda: FullNormal(3),
    "ConditionalNormal": lambda: ConditionalNormal(3, context_features=2, hidden=(4,)),
    "MixtureOfFlows": lambda: MixtureOfFlows([maf(3, **SMALL), StudentT(3)]),
    "a_flow": lambda: maf(3, base=DiagonalNormal(3), **SMALL),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "flow.safetensors"


def outcome(flow, n=4):
    """Return log-densities of points, and samples with theirs, as they come."""
    dtype = next(flow.parameters()).dtype
    seeded = torch.Generator().manual_seed(3)
    x = (2 * torch.randn(n, *flow.event_shape, generator=seeded)).to(dtype)
    if isinstance(flow, BinaryMADE):
        x = (x > 0).to(dtype)
    context = None
    if flow.context_features:
        context = torch.randn(n, flow.context_features, generator=seeded).to(dtype)
    with torch.no_grad():
        return flow.log_prob(x, context), flow.sample((2,), context, seeded)


def assert_same(a, b):
    assert type(a) is type(b)
    state, other = a.state_dict(), b.state_dict()
    assert list(state) == list(other)
    for name in state:
        assert state[name].dtype == other[name].dtype
        assert torch.equal(state[name], other[name]), name
    for one, two in zip(outcome(a), outcome(b), strict=True):
        assert one.dtype == two.dtype
        assert torch.equal(one, two)
        assert one.isfinite().all()


def assert_comes_back(flow, path):
    perturb_(flow)
    flow.eval()
    flowkit.save(flow, path)
    loaded = flowkit.load(path)
    assert_same(flow, loaded)
    assert not any(module.training for module in loaded.modules())
    first = path.read_bytes()
    flowkit.save(loaded, path)
    assert path.read_bytes() == first


# What is saved comes back


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("name", NAMED)
def test_architecture_comes_back_to_the_bit(name, context, path):
    assert_comes_back(named_flow(name, 2, context), path)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_come_back(name, path):
    assert_comes_back(OPTIONS[name](), path)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["nice", "maf", "nsf", "planar", "real_nvp"])
def test_dtype_comes_back(name, dtype, path):
    assert_comes_back(OPTIONS[name]().to(dtype), path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", BASES)
def test_base_comes_back(name, dtype, path):
    assert_comes_back(maf(3, layers=1, base=BASES[name](), **SMALL).to(dtype), path)


@pytest.mark.parametrize("context", [0, 2])
def test_binary_made_comes_back(context, path):
    assert_comes_back(binary_made(4, context_features=context, residual=True, **SMALL), path)


def test_learned_buffers_come_back(path):
    flow = maf(3, batch_norm=True, **SMALL).train()
    flow.log_prob(5 + torch.randn(100, 3))
    assert_comes_back(flow, path)


def test_every_named_function_is_among_those_tested():
    functions = {n for n, f in inspect.getmembers(architectures, inspect.isfunction)}
    own = {n for n in functions if not n.startswith("_") and n in vars(flowkit.flows)}
    assert own == {flow_config(make())["name"] for make in OPTIONS.values()} | {"binary_made"}
    assert own <= set(registry._NAMED)
    bases = {name for name, make in registry._NAMED.items() if isinstance(make, type)}
    assert bases == set(BASES) - {"fitted", "a_flow"}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_recorded_defaults_included(name):
    config = flow_config(OPTIONS[name]())
    signature = inspect.signature(vars(flowkit.flows)[config["name"]])
    assert list(config["arguments"]) == list(signature.parameters)
    assert json.loads(json.dumps(config)) == config


def test_outermost_name_is_recorded():
    assert flow_config(made(2))["name"] == "made"
    assert flow_config(made_mog(2))["name"] == "made_mog"
    assert flow_config(maf(2, base=FullNormal(2)))["arguments"]["base"]["name"] == "FullNormal"


def test_arguments_are_those_of_the_call_whatever_becomes_of_them():
    hidden = [8]
    flow = maf(2, hidden=hidden)
    hidden.append(9)
    flow_config(flow)["arguments"]["hidden"].append(9)
    assert flow_config(flow)["arguments"]["hidden"] == [8]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])  # noqa: S301
def test_copies_can_be_saved(copied, path):
    assert_comes_back(copied(maf(3, base=StudentT(3), **SMALL)), path)


def test_signature_and_docstring_stay():
    assert str(inspect.signature(maf)).startswith("(features: int, *, context_features: int = 0")
    assert "Papamakarios" in maf.__doc__
    assert str(inspect.signature(StudentT)).startswith("(event_shape: int | ")


def test_loading_leaves_the_random_state_and_takes_a_device(path):
    flow = maf(2, **SMALL)
    flowkit.save(flow, path)
    state = torch.random.get_rng_state()
    flowkit.load(path, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert flowkit.load(path, device="meta").transform.transforms[0].made.net.output.weight.is_meta


def test_loading_does_not_depend_on_the_defaults_of_torch(path):
    flow = maf(3, **SMALL)
    flowkit.save(flow, path)
    torch.set_default_dtype(torch.float64)
    try:
        loaded = flowkit.load(path)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same(flow.eval(), loaded)


def test_names_of_the_package():
    assert {"save", "load", "files"} <= set(dir(flowkit))
    assert flowkit.save is flowkit.files.save


# What cannot be saved


def edited(edit, make=lambda: maf(2, layers=2, base=BoxUniform([-9.0, -9.0], [9.0, 9.0]), **SMALL)):
    flow = make()
    edit(flow)
    return flow


UNFIT = {
    "hand_composed": lambda: Flow(LULinear(2), StandardNormal(2)),
    "base_of_torch": lambda: maf(2, base=TorchBase(torch.distributions.Normal, **NORMAL)),
    "outer_of_such": lambda: made(2, base=TorchBase(torch.distributions.Normal, **NORMAL)),
    "transform": lambda: maf(2).transform,
    "wrapped": lambda: nn.Sequential(maf(2)),
    "none": lambda: None,
    "embedding": lambda: edited(
        lambda f: setattr(f, "embedding", nn.Linear(3, 2)), lambda: maf(2, context_features=2)
    ),
    "base_replaced": lambda: edited(lambda f: setattr(f, "base", StandardNormal(2))),
    "base_replaced_by_its_like": lambda: edited(
        lambda f: setattr(f, "base", StandardLogistic(2)), lambda: maf(2)
    ),
    "base_moved": lambda: edited(lambda f: setattr(f.base, "low", [-9.0, -8.0])),
    "layer_replaced": lambda: edited(lambda f: f.transform.transforms.__setitem__(0, LULinear(2))),
    "layer_left_out": lambda: edited(lambda f: f.transform.transforms.__delitem__(0)),
    "univariate_replaced": lambda: edited(
        lambda f: setattr(f.transform.transforms[0], "univariate", Affine(bound=2.0))
    ),
    "mask_cut": lambda: edited(lambda f: f.transform.transforms[0].made.net.output.mask.zero_()),
    "activation_replaced": lambda: edited(
        lambda f: setattr(f.transform.transforms[0].made.net, "activation", torch.tanh)
    ),
    "parametrized": lambda: edited(
        lambda f: nn.utils.parametrizations.weight_norm(f.transform.transforms[0].made.net.output)
    ),
    "two_dtypes": lambda: edited(lambda f: f.transform.double()),
}
NORMAL = {"loc": torch.zeros(2), "scale": torch.ones(2)}


@pytest.mark.parametrize("name", UNFIT)
def test_other_flows_are_refused(name, path):
    message = "^flow: expected .*dtype" if name == "two_dtypes" else "^flow: expected .*state_dict"
    with pytest.raises(ArgumentError, match=message):
        flowkit.save(UNFIT[name](), path)
    assert not path.exists()


def test_a_subclass_is_another_thing(path):
    class Mine(StandardNormal):
        def _log_density(self, z):
            return super()._log_density(z) - 1

    with pytest.raises(ArgumentError, match=r"got Flow\(Chain, Mine\)"):
        flowkit.save(maf(2, base=Mine(2)), path)


# What a file may say


def config_with(**changes):
    config = flow_config(maf(2, layers=1, base=StudentT(2), **SMALL))
    for name, value in changes.items():
        part = config if name in config else config["arguments"]
        part[name] = value
    return config


def without(name):
    config = config_with()
    (config if name in config else config["arguments"]).pop(name)
    return config


def base_with(**changes):
    return config_with(
        base={"name": "StudentT", "arguments": {"event_shape": 2, "df": 5.0}} | changes
    )


BAD_CONFIGS = {
    "null": (None, "config: expected a mapping"),
    "list": ([], "config: expected a mapping"),
    "unknown_architecture": (config_with(name="glow"), "config.name: expected one of .*'glow'"),
    "a_module": (config_with(name="os.system"), "config.name"),
    "a_private_name": (config_with(name="_couplings"), "config.name"),
    "name_of_wrong_type": (config_with(name=["maf"]), "config.name"),
    "no_name": (without("name"), "config: expected the key 'name'"),
    "no_dtype": (without("dtype"), "config: expected the key 'dtype'"),
    "dtype": (config_with(dtype="int64"), "config.dtype: expected one of .*'int64'"),
    "dtype_of_wrong_type": (config_with(dtype={}), "config.dtype"),
    "more": (config_with() | {"x": 1}, "config: expected no other keys, got 'x'"),
    "missing_argument": (without("hidden"), "config.arguments: expected the key 'hidden'"),
    "unknown_argument": (config_with(bins=3), "arguments: expected no other keys, got 'bins'"),
    "arguments_list": (config_with(arguments=[2]), "config.arguments: expected a mapping"),
    "features_string": (config_with(features="2"), "config.arguments.features: expected"),
    "features_float": (config_with(features=2.0), "config.arguments.features: expected"),
    "features_bool": (config_with(features=True), "config.arguments.features: expected"),
    "features_zero": (config_with(features=0), "features: expected an integer of at least 1"),
    "hidden_number": (config_with(hidden=8), "config.arguments.hidden: expected"),
    "hidden_strings": (config_with(hidden=["8"]), "config.arguments.hidden: expected"),
    "hidden_empty": (config_with(hidden=[]), "hidden: expected a non-empty sequence"),
    "residual_number": (config_with(residual=1), "config.arguments.residual: expected a bool"),
    "activation": (config_with(activation="sin"), "activation: expected one of"),
    "base_name": (config_with(base="cauchy"), "base: expected one of"),
    "base_null": (config_with(base=None), "config.arguments.base: expected"),
    "base_list": (config_with(base=[]), "config.arguments.base: expected"),
    "base_empty": (config_with(base={}), "config.arguments.base: expected the key 'name'"),
    "base_unknown": (base_with(name="Cauchy"), "config.arguments.base.name: expected one of"),
    "base_arguments": (base_with(arguments={}), "config.arguments.base.arguments: expected"),
    "base_event": (
        base_with(arguments={"event_shape": None, "df": 1.0}),
        "config.arguments.base.arguments.event_shape: expected",
    ),
    "base_of_others": (
        base_with(arguments={"event_shape": 3, "df": 1.0}),
        "base: expected event shape",
    ),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_bad_configuration_is_refused(name, path):
    config, message = BAD_CONFIGS[name]
    write_file(path, maf(2, layers=1, **SMALL).state_dict(), {"kind": "flow", "flow": config})
    with pytest.raises(ModelFileError, match=message):
        flowkit.load(path)
    with pytest.raises(ArgumentError):
        flow_from_config(config)


def test_another_kind_of_document_is_refused(path):
    flow = maf(2, **SMALL)
    document = {"kind": "flow", "flow": flow_config(flow)}
    write_file(path, flow.state_dict(), document | {"kind": "checkpoint"})
    with pytest.raises(ModelFileError, match="holds a 'checkpoint', not a 'flow'"):
        flowkit.load(path)
    write_file(path, flow.state_dict(), document | {"shape": 1})
    with pytest.raises(ModelFileError, match="its flow document: expected no other keys.*'shape'"):
        flowkit.load(path)
    with pytest.raises(ModelFileError, match="expected the key 'flow', which is missing"):
        check_document(path, {"kind": "flow"}, "flow", ("flow",))
    with pytest.raises(ModelFileError, match="holds a None"):
        check_document(path, {}, "flow", ("flow",))


def test_the_state_of_another_model_is_refused(path):
    flow = maf(2, layers=2, **SMALL)
    document = {"kind": "flow", "flow": flow_config(flow)}
    state = flow.state_dict()
    name = "transform.transforms.0.made.net.output.bias"
    cases = {
        "its state: expected the key 'transform.transforms.1": maf(
            2, layers=1, **SMALL
        ).state_dict(),
        "its state: expected no other keys.*transforms.2": maf(2, layers=3, **SMALL).state_dict(),
        "tensor '.*' is .*7.* and should be": maf(2, layers=2, hidden=(8, 7)).state_dict(),
        "float64.*and should be.*float32": maf(2, layers=2, **SMALL).double().state_dict(),
        f"expected the key '{name}'": {k: v for k, v in state.items() if k != name},
        "got 'extra'": state | {"extra": torch.zeros(1)},
        r"is \(\(4, 1\), .*should be \(\(4,\)": state | {name: state[name][:, None]},
    }
    for message, tensors in cases.items():
        write_file(path, tensors, document)
        with pytest.raises(ModelFileError, match=message):
            flowkit.load(path)


# Files that are not what was written


@pytest.fixture
def whole(path):
    flowkit.save(maf(2, layers=1, **SMALL), path)
    return path.read_bytes()


def assert_refused(path, content, message=None):
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message) as caught:
        flowkit.load(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.path == str(path)


def test_truncated_file_is_refused(whole, path):
    header = 8 + int.from_bytes(whole[:8], "little")
    for size in (0, 1, 8):
        assert_refused(path, whole[:size], "not a safetensors file")
    for size in (9, 100, header - 1, header, header + 1, len(whole) - 100, len(whole) - 1):
        assert_refused(path, whole[:size], "truncated")


def test_any_flipped_bit_is_noticed(whole, path):
    header = 8 + int.from_bytes(whole[:8], "little")
    for at in [
        *range(0, header, 5),
        *range(header - 9, header + 9),
        *range(header, len(whole), 97),
    ]:
        altered = bytearray(whole)
        altered[at] ^= 1 << at % 8
        assert_refused(path, bytes(altered))


def test_alterations_that_stay_readable_are_noticed(whole, path):
    altered = "altered since it was written"
    for old, new in (
        (b'\\"relu\\"', b'\\"tanh\\"'),
        (b'\\"layers\\":1', b'\\"layers\\":2'),
        (b'\\"library\\":\\"0.1.0', b'\\"library\\":\\"9.9.9'),
        (b"net.hidden.0.bias", b"net.hidden.7.bias"),
    ):
        assert whole.count(old) == 1
        assert_refused(path, whole.replace(old, new), altered)
    assert_refused(path, whole + b"\0", altered)
    assert_refused(path, whole[:-8] + b"\1" * 8, altered)
    digest = whole[whole.index(b"sha256") + 11 :][:64]
    assert_refused(path, whole.replace(digest, b"0" * 64), altered)
    assert_refused(path, whole.replace(digest, b"z" * 64), altered)


def forged(path, envelope):
    """Write tensors whose metadata is this text, by safetensors itself."""
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, {"flowkit": envelope})
    return path.read_bytes()


def test_other_safetensors_files_are_refused(path):
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    assert_refused(path, path.read_bytes(), "none that flowkit wrote")
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, {"format": "pt"})
    assert_refused(path, path.read_bytes(), "none that flowkit wrote")


@pytest.mark.parametrize(
    ("envelope", "message"),
    [
        ("", "altered, or not flowkit's"),
        ("[]", "no JSON object"),
        ("{}", "format version None"),
        ('{"version": 2}', "format version 2, and this flowkit reads 1"),
        ('{"version": "1"}', "format version '1'"),
        ('{"version": 1}', "its metadata: expected the key 'sha256'"),
        ('{"version": 2, "version": 1}', "duplicate key"),
        ('{"version": NaN}', "(nan|NaN) is not a finite"),
        ('{"version": -Infinity}', "-Infinity is not a finite number"),
        ('{"version": 1e999}', "1e999 is not a finite number"),
        ("[" * 100_000, "altered, or not flowkit's"),
        ('{"sha256":"", "version":1, "library":"1", "document":{}}', "altered since"),
        ('{"sha256":null, "version":1, "library":"1", "document":{}}', "altered since"),
        ('{"sha256":"0", "version":1, "library":"1", "document":{}, "x":1}', "got 'x'"),
    ],
    ids=range(14),
)
def test_metadata_is_read_strictly(envelope, message, path):
    assert_refused(path, forged(path, envelope), message)


def test_other_formats_are_refused(path, tmp_path):
    torch.save(maf(2).state_dict(), path)
    assert_refused(path, path.read_bytes(), "not a safetensors file")
    assert_refused(path, b"x,y\n1,2\n3,4\n" * 100, "not a safetensors file")
    assert_refused(path, pickle.dumps({"a": 1}) * 10, "not a safetensors file")
    assert_refused(path, b'{"a": 1}' * 10, "not a safetensors file")
    assert_refused(path, (20).to_bytes(8, "little") + b'{"a": 1}' + b" " * 30, "not a safe")
    assert_refused(path, (9).to_bytes(8, "little") + b'{"a": {}}', "its header lists no offsets")
    with pytest.raises(ModelFileError, match="not a file"):
        flowkit.load(tmp_path)
    with pytest.raises(ModelFileError, match="cannot be read: No such file or directory"):
        flowkit.load(tmp_path / "missing.safetensors")


# Writing


def test_tensors_and_document_come_back(path):
    square = torch.arange(6.0).reshape(2, 3)
    tensors = {
        "strided": square.T,
        "shared": square,
        "part": square[0, 1:],
        "expanded": torch.ones(1).expand(4),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3),
        "bits": torch.tensor([True, False]),
        "special": torch.tensor([torch.nan, torch.inf, -0.0], dtype=torch.float64),
        "bfloat16": torch.ones(2, dtype=torch.bfloat16),
        "parameter": nn.Parameter(torch.ones(2)),
        "bytes of ä": torch.arange(5, dtype=torch.uint8),
    }
    document = {"kind": "any", "n": 2**70, "x": [0.1, -1e-300, None, True, {"ä\0\ud800": "0" * 64}]}
    write_file(path, tensors, document)
    read, same = read_file(path)
    assert same == document
    assert list(read) == sorted(tensors)
    for name, tensor in read.items():
        assert tensor.dtype == tensors[name].dtype
        torch.testing.assert_close(tensor, tensors[name].detach(), rtol=0, atol=0, equal_nan=True)
    assert torch.signbit(read["special"][2])
    read["strided"].add_(1)  # not a window on anything else
    assert torch.equal(tensors["strided"].T, square)
    first = path.read_bytes()
    write_file(path, tensors, document)
    assert path.read_bytes() == first
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a": float("nan")}, "document.a: expected a finite number .*, got nan"),
        ({"a": [1.0, {"b": float("inf")}]}, r"document.a\[1\].b: expected a finite number"),
        ({1: 2}, "document: expected keys that are strings, got 1"),
        ({"a": torch.zeros(1)}, "document.a: expected a JSON value, got Tensor"),
        ({"a": {1, 2}}, "document.a: expected a JSON value, got set"),
    ],
    ids=range(5),
)
def test_documents_that_json_would_bend_are_refused(document, message, path):
    with pytest.raises(ArgumentError, match=message):
        write_file(path, {}, document)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(2, dtype=torch.complex128),
        torch.eye(2).to_sparse(),
        torch.ones(2, device="meta"),
    ],
    ids=["complex128", "sparse", "meta"],
)
def test_tensors_that_the_format_lacks_are_refused(tensor, path):
    with pytest.raises(DtypeError, match="tensors: expected kinds that safetensors can hold"):
        write_file(path, {"a": tensor}, {})
    with pytest.raises(ArgumentError, match="__metadata__"):
        write_file(path, {"__metadata__": torch.zeros(1)}, {})
    assert not path.exists()


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_interrupted_write_leaves_the_old_file_and_no_other(step, error, whole, path, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    if step == "write":
        monkeypatch.setattr(_atomic, "open", fails_after_a_part(error), raising=False)
    else:
        monkeypatch.setattr(os, step, fail)
    expected = ModelFileError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        flowkit.save(nsf(3, **SMALL), path)
    if expected is ModelFileError:
        assert str(caught.value) == f"{path}: cannot be written: No space left on device"
    monkeypatch.undo()
    assert path.read_bytes() == whole
    assert os.listdir(path.parent) == [path.name]


def fails_after_a_part(error):
    class Half:
        def __init__(self, path, mode):
            self.file = open(path, mode)  # noqa: SIM115

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, part):
            self.file.write(part[: len(part) // 2])
            raise error

    return Half


def test_old_file_stands_until_the_new_one_is_on_the_disk(whole, path, monkeypatch):
    replace, fsync, seen = os.replace, os.fsync, []

    def watch(source, target):
        assert path.read_bytes() == whole
        assert os.path.dirname(source) == str(path.parent)
        seen.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", lambda f: (seen.append("fsync"), fsync(f))[1])
    monkeypatch.setattr(os, "replace", watch)
    flowkit.save(maf(3, **SMALL), path)
    assert seen == ["fsync", "replace", "fsync"]  # the file, then the directory
    assert flowkit.load(path).features == 3


def test_places_that_cannot_be_written(tmp_path):
    flow = maf(2, **SMALL)
    with pytest.raises(ModelFileError, match="missing.f: cannot be written: No such file"):
        flowkit.save(flow, tmp_path / "missing" / "f")
    with pytest.raises(ModelFileError, match="cannot be written: Is a directory"):
        flowkit.save(flow, tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_link_stays_one(whole, path, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to(path)
    flowkit.save(maf(3, **SMALL), link)
    assert link.is_symlink()
    assert flowkit.load(path).features == 3


def test_error_is_a_value_error_that_can_be_pickled():
    error = ModelFileError("a.safetensors", "truncated")
    same = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert isinstance(same, ValueError)
    assert (str(same), same.path, same.problem) == (
        "a.safetensors: truncated",
        *same.__reduce__()[1],
    )
