"""The experiment file: what it means, and how it refuses."""

from __future__ import annotations

import json
import tomllib

import pytest

from pullback import config, initializer, maps, peers
from pullback.errors import ConfigError
from pullback.loss import SquaredError
from pullback.optim import SGD, Adam, Chain, ClipByNorm, Cosine, Frozen, Split, Table, Warmup
from pullback.penalty import L2


def parse(text: str):
    return config.parse(tomllib.loads(text), "test.toml")


def test_a_resolved_experiment_reads_back_as_itself():
    first = parse(
        'loss = "squared-error"\n[network]\nlayers = [{name = "affine", width = 3}, "tanh"]'
    )
    assert parse(first.toml()) == first
    assert config.read(None) == parse("") == parse(config.read(None).toml())


def test_names_become_objects():
    e = parse("""
        loss = "squared-error"
        rule = {name = "sgd", learning_rate = 0.5}
        penalty = [{name = "l2", strength = 0.1, on = ["weight", "bias"]}]
        [network]
        hidden = [7, 5]
        activation = {name = "leaky-relu", negative_slope = 0.2}
        output = "softmax"
        bias = false
        initializer = {name = "normal", scale = 0.5}
    """)
    weight = initializer.Normal(0.5)
    expected = [
        maps.Affine(7, False, weight),
        maps.LeakyRelu(0.2),
        maps.Affine(5, False, weight),
        maps.LeakyRelu(0.2),
    ]
    assert e.network.build(3) == maps.chain(
        *expected, maps.Affine(3, False, weight), maps.Softmax()
    )
    assert e.loss is not None
    assert (e.loss.build(), e.rule.build()) == (SquaredError(), SGD(0.5))
    assert [p.build() for p in e.penalty] == [L2(0.1, ("weight", "bias"))]


def test_structures_nest():
    e = parse("""
        [network]
        layers = [
          {name = "towers", layers = [{name = "affine", width = 4}, "sigmoid"]},
          {name = "skip", layers = [{name = "affine", width = 4}, "tanh"]},
          {name = "affine", width = 1},
        ]
    """)
    inner = maps.chain(maps.Affine(4), maps.Sigmoid())
    built = maps.chain(
        maps.towers(inner, maps.Subtract()), maps.skip(maps.Affine(4), maps.Tanh()), maps.Affine(1)
    )
    assert e.network.build(1) == built


@pytest.mark.parametrize(
    "obj",
    [
        SGD(0.1),
        L2(0.5, ("bias",)),
        maps.Affine(3),
        maps.SquaredExponential(0.05),
        SGD(Table(((0, 0.1), (3, 0.01)), unit="epoch")),
        Chain((ClipByNorm(1.0), Adam(Warmup(5, Cosine(0.1)), b1=0.5))),
        Split(("bias",), Frozen(), Split(("affine1/weight",), SGD(1.0), SGD(Warmup(2, 0.1)))),
    ],
    ids=str,
)
def test_objects_become_tables_and_objects_again(obj):
    table = config.plain(obj)
    assert config.TABLES[table["name"]].model_validate(table).build() == obj


def test_settings_come_last():
    settings = ["rule.learning_rate=0.5", "network.hidden=[3]", "network.activation.name=tanh"]
    e = config.read(None, [*settings, "name=x-1", "data.n=7", "data.source=xor"])
    assert (e.rule.build(), e.network.hidden, e.network.activation.name, e.name) == (
        SGD(0.5),
        (3,),
        "tanh",
        "x-1",
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sed = 1", r"unknown key 'sed', in test.toml; did you mean 'seed'\?"),
        ("[train]\nepoch = 3", r"unknown key 'train.epoch', in test.toml; did you mean 'epochs'\?"),
        ("[rule]\nlearning_rate = true", "rule.learning_rate: should be a valid number, got True"),
        ("[rule]\nlearning_rate = 0", "SGD's learning_rate must be a positive number, got 0.0"),
        ('[rule]\nlearning_rate = "cosin"', "'cosin' for rule.learning_rate.*mean 'cosine'"),
        ('[rule]\nlearning_rate = "cosine"', "the key 'rule.learning_rate.rate' is missing"),
        (
            '[rule]\nname = "chain"\nrules = [{learning_rate = {name = "cosine", rat = 1}}]',
            r"unknown key 'rule.rules\[0\].learning_rate.rat'.*did you mean 'rate'",
        ),
        (
            '[rule]\nlearning_rate = {name = "cosine", rate = 1, unit = "step"}',
            "rule.learning_rate.unit: should be a valid integer or be 'epoch', got 'step'",
        ),
        ("[train]\nepochs = 0", r"train.epochs: .*greater than or equal to 1, got 0"),
        ('[train]\nepochs = "many"', r"train.epochs: .*integer.*got 'many'"),
        ("[train]\nepochs = 2.5", r"train.epochs: .*got 2.5"),
        (
            '[network]\nactivation = "sigmod"',
            r"unknown name 'sigmod' for network.activation, .*did you mean 'sigmoid'\?",
        ),
        (
            '[network]\nlayers = [{name = "affine", widht = 3}]',
            r"unknown key 'network.layers\[0\].widht'.*did you mean 'width'",
        ),
        ('[network]\nlayers = ["relu", "affine"]', r"'network.layers\[1\].width' is missing"),
        (
            '[network]\nlayers = ["relu"]\nhidden = [3]',
            r"network: give either layers or hidden, not both",
        ),
        ("[network]\nlayers = []", r"at least one layer"),
        (
            '[network]\nlayers = [{name = "skip", layers = [{name = "afine"}]}]',
            r"unknown name 'afine' for network.layers\[0\].layers\[0\]",
        ),
        (
            'loss = "squared-eror"',
            r"unknown name 'squared-eror' for loss.*did you mean 'squared-error'",
        ),
        ('rule = "adamm"', r"unknown name 'adamm' for rule, .*did you mean 'adam"),
        ('rule = "sgd"', r"'rule.learning_rate' is missing"),
        ("[rule]\nlearning_rate = -1", r"learning_rate must be a positive number, got -1"),
        ("[rule]\nrate = 1", r"unknown key 'rule.rate'"),
        ('penalty = [{name = "l2", strength = -1}]', r"strength must be a number of at least 0"),
        ('[data]\nsource = "minst"', r"'mnist'"),
        ('[data]\nsource = "digits"\nnoise = 0.3', r"noise does not belong to data from 'digits'"),
        ('name = "../evil"', r"name: .*pattern"),
        (
            'precision = "float16"',
            r"precision: .*'float32', 'float64', 'bfloat16' or 'auto'.*got 'float16'",
        ),
        ("seed = -1", r"seed: "),
        ("[check]\nthreshold = 0", r"check.threshold: "),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(text, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert "test.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("seed", "form key=value"),
        ("=3", "form key=value"),
        ("seed=1 2", "not a TOML value"),
        ("name.first=3", "name: "),
        ("train.epochs=[", "not a TOML value"),
        ("seed.x.y=1", "seed"),
    ],
)
def test_bad_settings_are_refused(setting, sentence):
    with pytest.raises(ConfigError, match=sentence):
        config.read(None, [setting])


def test_a_missing_or_broken_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no experiment file"):
        config.read(tmp_path / "none.toml")
    for content in (b"a = [1,", b"\xff\xfe", b"a = 1\na = 2"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad.toml"):
            config.read(tmp_path / "bad.toml")


def test_the_schema_is_json_and_knows_every_section():
    schema = json.loads(json.dumps(config.schema()))
    assert set(schema["properties"]) == set(config.Experiment.model_fields)


def test_a_key_may_have_the_name_of_its_table():
    table = {"rule": {"name": "momentum", "learning_rate": 0.1, "speed": 1}}
    with pytest.raises(ConfigError, match=r"unknown key 'rule\.speed'"):
        config.parse(table, "a test")
    table["rule"] = {"name": "momentum", "learning_rate": 0.1, "momentum": "much"}
    with pytest.raises(ConfigError, match=r"^rule\.momentum: should be a valid number"):
        config.parse(table, "a test")


PEERS = """
[peers]
topology = {name = "ring", workers = 5}
mixing = {name = "lazy", of = "laplacian"}
algorithm = {name = "choco", rate = 0.2}
codec = {name = "top-k", share = 0.1}
partition = {name = "dirichlet", alpha = 0.1}
rounds = 7
local = {length = 3}
faults = {loss = 0.1, crashes = [[1, 2, 4], [2, 5]], rejoin = "own"}
clock = {upload = [1.0, 2.0, 3.0, 4.0, 5.0], download = inf}
"""


def test_a_section_of_peers_becomes_their_objects_and_reads_back():
    experiment = parse(PEERS)
    assert experiment.peers is not None
    network = experiment.peers.build()
    assert network.topology == peers.Ring(5)
    assert network.mixing == peers.Lazy(peers.Laplacian())
    assert network.algorithm == peers.Choco(0.2)
    assert network.codec == peers.TopK(0.1)
    assert network.partition == peers.Dirichlet(0.1)
    assert network.faults == peers.Faults(loss=0.1, crashes=((1, 2, 4), (2, 5)), rejoin="own")
    assert network.clock.upload == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert experiment.peers.work("all") == peers.Local(3, batch_size="all")
    assert parse(experiment.toml()) == experiment
    for engine in ("simulate", "cluster"):
        again = parse(f'[peers]\ntopology = "stars"\nengine = "{engine}"')
        assert parse(again.toml()) == again


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('topology = "rin"', "unknown name 'rin' for peers.topology.*did you mean 'ring'"),
        ('topology = "ring"', "the key 'peers.topology.workers' is missing"),
        ("", "the key 'peers.topology' is missing"),
        ('topology = "stars"\nlocal = {lenght = 1}', "unknown key 'peers.local.lenght'.*'length'"),
        ('topology = "stars"\nfaults = {loss = 2.0}', r"loss must be in \[0, 1\], got 2.0"),
        ('topology = "stars"\nfaults = {crashes = [[1]]}', r"'peers.faults.crashes\[0\]\[1\]'"),
        ('topology = "stars"\ncluster = {deadline = 1.0}', "wants engine = 'cluster'"),
        ('topology = "stars"\nengine = "cluster"\nworkers = "map"', "is of a simulation"),
        ('topology = "stars"\n[train]\nepochs = 2', "train.epochs has no use .* peers.rounds"),
        ('topology = "stars"\n[selection]\npatience = 2', "selection.patience has no use"),
        ('topology = "stars"\n[tune]\ntrials = 2', "tune.trials has no use .*pullback sweep"),
    ],
)
def test_a_section_of_peers_refuses_what_does_not_fit(text, said):
    with pytest.raises(ConfigError, match=said):
        parse(f"[peers]\n{text}")
