"""Plans: a file or command line stands for exactly these runs."""

import pytest

from physopt.config import from_words
from physopt.config.text import split_values
from physopt.options import OptionError
from physopt.sweeping.plan import expand, labels, planned_runs, read_request, take


def plan(*tokens):
    return [" ".join(words) for words in expand(read_request(tokens))]


def file(tmp_path, text, name="sweep.toml"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_commas_outside_brackets_make_a_grid_with_the_seed_outermost():
    assert plan("problem=exp", "rule=adam,sip", "batch_size=8,16", "seed=0,1") == [
        f"problem=exp rule={rule} batch_size={size} seed={seed}"
        for seed in (0, 1)
        for rule in ("adam", "sip")
        for size in (8, 16)
    ]
    assert split_values("1,[2,3],[4]") == ["1", "[2,3]", "[4]"]


def test_a_file_and_the_command_line_are_equivalent(tmp_path):
    path = file(tmp_path, 'problem = "exp"\nrule = ["adam", "sip"]\nbatch_size = [8, 16]')
    typed = plan("problem=exp", "rule=adam,sip", "batch_size=8,16")
    assert plan(path) == typed
    assert plan(path, "batch_size=4") == plan("problem=exp", "rule=adam,sip", "batch_size=4")


def test_tables_hold_the_options_of_one_rule_or_problem(tmp_path):
    path = file(
        tmp_path,
        "[problem.exp]\n[problem.poisson8]\nsize = 4\n"
        "[rule.adam]\nlearning_rate = [1e-3, 1e-2]\n[rule.lbfgs]\n",
    )
    assert plan(path) == [
        "problem=exp rule=adam rule.learning_rate=0.001",
        "problem=exp rule=adam rule.learning_rate=0.01",
        "problem=exp rule=lbfgs",
        "problem=poisson8 rule=adam problem.size=4 rule.learning_rate=0.001",
        "problem=poisson8 rule=adam problem.size=4 rule.learning_rate=0.01",
        "problem=poisson8 rule=lbfgs problem.size=4",
    ]
    assert plan(path, "problem=exp", "rule=lbfgs") == ["problem=exp rule=lbfgs"]
    assert plan(path, "problem=exp", "rule=adam", "rule.adam.learning_rate=1") == [
        "problem=exp rule=adam rule.learning_rate=1"
    ]


def test_options_of_one_name_are_not_those_of_a_name_that_begins_with_it(tmp_path):
    path = tmp_path / "adam.py"
    path.write_text("from physopt.optimizers.first_order import Adam\n")
    words = [f"rule=adam,{path}:Adam", f"rule.{path}:Adam.learning_rate=2"]
    assert plan("problem=exp", *words, "rule.adam.learning_rate=1") == [
        "problem=exp rule=adam rule.learning_rate=1",
        f"problem=exp rule={path}:Adam rule.learning_rate=2",
    ]
    table = file(tmp_path, f"[rule.adam]\n[rule.'{path}:Adam']\nlearning_rate = 2\n")
    assert plan(table, "problem=exp", "rule.learning_rate=1") == [
        "problem=exp rule=adam rule.learning_rate=1",
        f"problem=exp rule={path}:Adam rule.learning_rate=1",
    ]


def test_the_file_of_one_run_is_a_grid_too(tmp_path):
    path = file(
        tmp_path, '[problem]\nname = "exp"\n[rule]\nname = "adam"\nlearning_rate = [0.1, 0.2]'
    )
    assert len(plan(path)) == 2
    # as in `run`, a typed rule drops the options of another one
    assert plan(path, "rule=sip") == ["problem=exp rule=sip"]


def test_a_file_may_be_a_union_of_grids_that_inherit_its_top(tmp_path):
    path = file(
        tmp_path,
        'problem = "exp"\nseed = [0, 1]\n'
        '[[grid]]\nrule = {name = "adam", learning_rate = 0.1}\n'
        '[[grid]]\nrule = "hig"\nbatch_size = 8\n',
    )
    both = ["problem=exp rule=adam seed={} rule.learning_rate=0.1"]
    both.append("problem=exp rule=hig seed={} batch_size=8")
    assert plan(path) == [text.format(seed) for seed in (0, 1) for text in both]
    assert plan(path, "rule=hig", "seed=3") == [both[1].format(3)]
    more = file(tmp_path, '[[grid]]\nrule = "sip"\n', "more.toml")
    assert plan(path, more, "seed=0")[-1] == "problem=exp rule=sip seed=0"


def test_a_list_that_is_one_value_stays_one(tmp_path):
    path = file(tmp_path, "[problem.exp]\nhidden = [8, 8]\n[rule.adam]\n")
    assert plan(path) == ["problem=exp rule=adam problem.hidden=[8,8]"]
    path = file(tmp_path, "[problem.exp]\nhidden = [[8, 8], [4]]\n[rule.adam]\n")
    assert [words.split("=")[-1] for words in plan(path)] == ["[8,8]", "[4]"]


def test_all_stands_for_every_name():
    from physopt.optimizers import RULES

    assert len(plan("problem=exp", "rule=all")) >= len(RULES)


def test_the_words_of_a_planned_run_make_the_same_run():
    runs = planned_runs(
        read_request(["problem=exp", "rule=adam,sip", "seed=0,1,2", "rule.learning_rate=0.1"])
    )
    assert len(runs) == 6
    for run in runs:
        assert run == from_words(list(run.words()))
    assert labels(runs)[0] == "exp adam seed=0"


def test_no_run_is_planned_twice():
    runs = planned_runs(read_request(["problem=exp", "rule=adam", "seed=0,0", "dtype=float32"]))
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["problem=exp"], "rule=: name a rule"),
        (["problem=exp", "rule=adam,sipp"], "did you mean sip?"),
        (["problem=exp", "rule=adam,lbfgs", "rule.learning_rate=1"], "unknown key"),
        (["problem=exp", "rule=adam", "batch_size=8,0"], "batch_size=0: must be at least 1"),
        (["problem=exp", "rule=adam", "seed=0,x"], "seed=x"),
        (["problem=exp", "rule=adam", "rule.hig.tau=1", "rule.tua=1"], "rule.tua"),
        (["problem=exp", "oops"], "expected key=value"),
        (["[ruel.adam]"], "did you mean rule?"),
        (["grid = 3"], "each grid is a table of its own"),
        (['problem = "exp"\n[[grid]]\nrule = "adam"', "rule=sip"], "no run of the file"),
    ],
)
def test_one_invalid_run_rejects_the_plan_before_anything_starts(tmp_path, tokens, expected):
    words = [file(tmp_path, t) if t[0] == "[" or " = " in t else t for t in tokens]
    with pytest.raises(OptionError) as caught:
        planned_runs(read_request(words))
    assert expected in f"{caught.value.key}={caught.value.value}: {caught.value.reason}"


def test_options_outside_the_grid_are_removed_from_it():
    request = read_request(["problem=exp", "rule=adam", "workers=2"])
    assert take(request, ["workers", "timeout"]) == {"workers": "2"}
    assert expand(request) == [("problem=exp", "rule=adam")]
    with pytest.raises(OptionError, match="takes one value"):
        take(read_request(["workers=1,2"]), ["workers"])


def test_a_short_name_may_have_options_of_its_own():
    (words,) = plan("problem=exp", "rule=lm", "rule.lm.damping=1")
    assert from_words(words.split()).rule.as_dict()["damping"] == 1.0
