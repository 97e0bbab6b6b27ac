"""The threat table: which tests prove what about which threat.

Each row is a threat, with the number that tests have in their names, and the tests that show what
is done about it: on the pure protocol, on real sockets, and against real ppservers. The tests here
make sure that no row loses its tests by a renaming.

======  ==========================================================================================
row     threat
======  ==========================================================================================
1       a stranger submits a job
2       a rogue daemon returns malicious pickles
3       a man in the middle ends TLS on both sides
4       traffic is recorded now, and the key stolen later
5       a recorded handshake is replayed
6       messages are sent back, or two connections joined crosswise
7       downgrade: older TLS, another version, plain TCP
8       weak secrets are guessed offline
9       the key can be read by others
10      the key shows in process lists, logs, tracebacks, environments of workers
11      answers or their timing tell a wrong key from an unknown one
12      strangers fill the memory
13      slow strangers take all places
14      strangers take all descriptors
15      strangers take all processor time
16      penalties lock out honest peers
17      something is unpickled before authentication, or in the daemon's process
18      a pickle is hidden in the control plane
19      a daemon is exposed by default
20      other users of the same machine
21      a rogue goodbye removes daemons
22      a rogue announcement redirects clients
23      thousands of false announcements
24      announcements leak the secret, or what verifies it
25      a name conflict keeps a daemon from being announced
26      a stale announcement, after kill -9
27      a key is not to be trusted any more
28      one client passes for another
29      a result or a job is cut short
30      a peer that holds a key is broken or malicious: huge lengths, floods
31      half-open links, hung nodes
32      a job that may not be retried is executed twice
33      a poisonous job kills all workers
34      workers are left after the death of client or daemon
35      the private key of TLS is left on disk
36      SSLKEYLOGFILE
38      running as root
======  ==========================================================================================
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

_HANDSHAKE = "wire/test_handshake.py::test_row_"
_STRANGERS = "security/test_strangers.py::test_row_"
_FAULTS = "security/test_faults.py::test_row_"
_FLOODS = "security/test_floods.py::test_row_"
_TLS = "runtime/test_tls.py::test_row_"
_DAEMON = "server/test_daemon.py::test_"

THREATS: dict[int, list[str]] = {
    1: [
        f"{_HANDSHAKE}1_client_with_a_random_key",
        f"{_HANDSHAKE}1_client_without_a_key",
        f"{_HANDSHAKE}1_known_kid_wrong_secret",
        f"{_HANDSHAKE}1_even_the_dummy_key_is_no_key",
        f"{_STRANGERS}1_a_stranger_runs_nothing",
        f"{_STRANGERS}1_frames_without_a_handshake_are_not_read",
        "server/test_session.py::test_whoever_breaks_the_rules_is_thrown_out",
    ],
    2: [
        f"{_HANDSHAKE}2_false_server_proof",
        "runtime/test_dialling.py::test_a_false_proof_is_an_impostor",
        f"{_STRANGERS}2_nothing_of_a_rogue_daemon_is_unpickled",
    ],
    3: [
        f"{_HANDSHAKE}3_relay_with_another_certificate",
        f"{_HANDSHAKE}3_relay_that_swaps_the_server_hello",
        f"{_HANDSHAKE}3_relay_that_swaps_the_client_hello",
        f"{_HANDSHAKE}3_any_changed_hello_byte_breaks_both_proofs",
        f"{_STRANGERS}3_a_man_in_the_middle_is_found_out_by_both",
    ],
    4: [
        f"{_TLS}4_forward_secret_and_not_resumable",
        f"{_STRANGERS}4_the_channel_is_forward_secret_and_not_resumable",
    ],
    5: [
        f"{_HANDSHAKE}5_replay_of_a_client",
        f"{_HANDSHAKE}5_replay_of_a_daemon",
        f"{_STRANGERS}5_a_recorded_handshake_cannot_be_replayed",
    ],
    6: [
        f"{_HANDSHAKE}6_client_hello_sent_back",
        f"{_HANDSHAKE}6_client_proof_sent_back",
        f"{_HANDSHAKE}6_two_clients_of_one_program_cross_wired",
        "runtime/test_dialling.py::test_a_mirror_is_refused",
        f"{_STRANGERS}6_messages_sent_back_are_refused",
    ],
    7: [
        f"{_HANDSHAKE}7_other_version",
        f"{_TLS}7_tls_1_2_client_is_refused",
        f"{_TLS}7_other_alpn_is_refused_by_both",
        f"{_TLS}7_plain_tcp_is_refused",
        "runtime/test_listener.py::test_another_alpn_name_is_refused_before_a_byte",
        "runtime/test_listener.py::test_other_protocols_get_no_byte_of_ours",
        f"{_STRANGERS}7_and_16_after_every_kind_of_bad_client_a_good_one_is_served",
    ],
    8: [
        "wire/test_keys.py::test_row_8_weak_bytes_are_refused",
        "wire/test_keys.py::test_row_8_only_a_generated_line_is_a_secret",
        f"{_STRANGERS}8_only_generated_keys_are_secrets",
    ],
    9: [
        "runtime/test_keystore.py::test_row_9_unsafe_files_are_refused",
        f"{_STRANGERS}9_a_client_refuses_a_loose_key_file",
        "server/test_cli.py::test_a_loose_key_file_is_refused_with_the_cure",
        "server/test_cli.py::test_a_key_file_of_somebody_else_is_refused",
    ],
    10: [
        f"{_HANDSHAKE}10_no_error_and_no_repr_shows_the_secret",
        "wire/test_keys.py::test_row_10_no_exception_shows_the_secret",
        f"{_STRANGERS}10_the_key_does_not_show_anywhere",
        "server/test_cli.py::test_a_secret_on_the_command_line_is_answered_with_how_to_make_a_key",
        "runtime/test_processes.py::test_settings_and_secrets_stay_out_of_the_environment",
    ],
    11: [
        f"{_HANDSHAKE}11_unknown_kid_and_wrong_proof_look_the_same",
        "runtime/test_listener.py::test_the_wrong_key_and_an_unknown_one_look_the_same",
        f"{_STRANGERS}11_an_unknown_key_costs_as_much_as_a_wrong_proof",
    ],
    12: [
        "wire/test_handshake.py::test_row_12_more_than_104_bytes_are_refused",
        f"{_FLOODS}12_and_15_a_flood_costs_little_and_disturbs_no_session",
        f"{_FLOODS}12_the_log_of_a_flood_is_short",
    ],
    13: [
        "runtime/test_listener.py::test_a_drip_does_not_move_the_deadline",
        f"{_FLOODS}13_slow_strangers_of_another_machine_delay_nobody",
        f"{_FLOODS}13_slow_strangers_of_the_same_machine_delay_nobody",
        f"{_FLOODS}13_slow_strangers_are_cut",
    ],
    14: [
        "runtime/test_listener.py::test_without_descriptors_it_pauses_and_goes_on",
        f"{_FLOODS}14_without_descriptors_sessions_go_on_and_the_daemon_recovers",
        f"{_FLOODS}14_the_door_opens_as_soon_as_there_are_descriptors",
    ],
    15: [
        "wire/test_admission.py::test_bucket",
        f"{_FLOODS}12_and_15_a_flood_costs_little_and_disturbs_no_session",
    ],
    16: [
        "wire/test_admission.py::test_row_16_three_bad_keys_do_not_lock_out_the_good_one",
        "runtime/test_listener.py::test_many_bad_clients_and_then_a_good_one",
        f"{_STRANGERS}7_and_16_after_every_kind_of_bad_client_a_good_one_is_served",
    ],
    17: [
        f"{_FAULTS}17_and_18_the_daemon_unpickles_nothing",
        "test_architecture.py::test_only_shipping_pickles",
    ],
    18: [
        f"{_FAULTS}17_and_18_the_daemon_unpickles_nothing",
        "wire/test_connection.py::test_any_bytes_give_messages_or_a_protocol_error",
        "fuzz/test_corpus.py::test_the_corpus",
        "fuzz/test_properties.py::test_damaged_bytes",
        "fuzz/test_sessions.py::test_whatever_an_authenticated_client_says_the_daemon_goes_on",
    ],
    19: [
        f"{_FAULTS}19_a_daemon_listens_on_the_loopback_only",
        f"{_FAULTS}19_the_listing_agrees",
        f"{_FAULTS}19_a_server_of_this_machine_opens_no_socket",
        "server/test_config.py::test_the_defaults_are_safe",
    ],
    20: [f"{_STRANGERS}20_the_loopback_is_no_exception_and_the_key_is_private"],
    21: [
        "runtime/test_discovery.py::case_a_rogue_goodbye_stops_new_dials_only",
        "runtime/test_candidates.py::test_withdrawal_stops_new_dials_only",
        "cluster/test_namespaces.py::test_row_21_a_forged_goodbye_ends_no_session",
    ],
    22: [
        "runtime/test_discovery.py::case_a_forged_address_is_not_dialled",
        "runtime/test_candidates.py::test_refused",
        "cluster/test_namespaces.py::test_row_22_forged_addresses_are_not_dialled",
    ],
    23: [
        "runtime/test_candidates.py::test_a_flood_is_bounded_and_an_honest_daemon_gets_through",
        f"{_FLOODS}23_a_flood_of_forged_announcements_hides_no_honest_daemon",
    ],
    24: ["runtime/test_discovery.py::case_txt_says_nothing_else"],
    25: [
        "runtime/test_discovery.py::case_a_taken_name_is_changed",
        "runtime/test_discovery.py::case_every_name_taken_is_one_line",
        "server/test_cli.py::test_letter_a_announces_and_discovery_that_cannot_is_one_line",
    ],
    26: [
        "runtime/test_discovery.py::case_a_killed_server_harms_nobody",
        "runtime/test_candidates.py::test_backoff_is_for_the_address_not_the_name",
        f"{_FAULTS}26_a_dead_address_delays_nobody",
    ],
    27: [
        f"{_DAEMON}sighup_reads_the_keys_again",
        f"{_DAEMON}a_revoked_key_is_noticed_without_a_signal",
        f"{_FLOODS}27_a_key_is_replaced_while_jobs_run_and_none_is_lost",
        f"{_FLOODS}27_a_revoked_key_ends_its_sessions_within_ten_seconds_and_no_other",
    ],
    28: [
        f"{_HANDSHAKE}28_attribution_to_the_right_key",
        f"{_HANDSHAKE}28_kid_of_one_with_secret_of_the_other",
        f"{_FAULTS}28_the_log_tells_clients_apart_and_keys_do_not_mix",
    ],
    29: [
        "wire/test_connection.py::test_cut_at_every_byte_of_an_exchange_only_a_whole_bye_is_an_end",
        "wire/test_connection.py::test_cut_at_every_frame_of_a_large_result_nothing_of_it_is_given",
        f"{_FAULTS}29_a_cut_connection_never_gives_a_short_result",
        f"{_FAULTS}29_a_reset_is_a_loss_and_the_job_is_run_again",
        "runtime/test_streams.py::test_finish_loses_nothing_though_the_other_end_still_talks",
    ],
    30: [
        "wire/test_connection.py::test_what_the_other_end_may_not_do",
        "server/test_session.py::test_too_many_jobs_end_the_session",
        "server/test_session.py::test_garbage_ends_the_session",
        f"{_FAULTS}30_whoever_misbehaves_ends_its_own_session_only",
        "fuzz/test_sessions.py::test_whatever_an_authenticated_client_says_the_daemon_goes_on",
    ],
    31: [
        "runtime/test_streams.py::test_a_silent_end_is_given_up",
        "server/test_session.py::test_a_silent_client_is_given_up",
        f"{_DAEMON}letter_k_gives_up_a_client_that_hangs",
        f"{_FAULTS}31_a_pulled_cable_is_noticed_and_the_job_runs_elsewhere",
        f"{_FAULTS}31_a_hung_daemon_is_noticed_and_its_late_result_is_not_taken",
        "cluster/test_namespaces.py::test_a_link_that_goes_down_in_mid_run_loses_no_job",
    ],
    32: [
        f"{_FAULTS}32_a_job_that_may_not_be_retried_is_started_once",
        "sched/test_aftermath.py::test_a_once_job_whose_node_was_lost_is_not_run_again",
        "sched/test_simulation.py::test_every_seed_keeps_the_contract",
    ],
    33: [
        f"{_FAULTS}33_poison_is_given_up_and_the_others_finish",
        "contract/test_deaths.py::test_a_job_whose_worker_dies_three_times_is_poisoned",
    ],
    34: [
        f"{_FAULTS}34_a_client_killed_at_any_moment_leaves_nothing",
        f"{_FAULTS}34_destroying_a_server_does_not_wait_for_a_silent_peer",
        f"{_DAEMON}a_killed_client_leaves_no_worker",
        f"{_DAEMON}a_killed_daemon_leaves_no_worker",
        "worker/test_lifeline.py::test_a_killed_parent_takes_everything_with_it",
    ],
    35: [
        f"{_TLS}35_nothing_is_written_to_disk",
        f"{_TLS}35_killed_between_write_and_unlink",
        f"{_STRANGERS}35_and_36_no_private_key_and_no_session_secret_on_disk",
    ],
    36: [
        f"{_TLS}36_no_key_log",
        f"{_STRANGERS}35_and_36_no_private_key_and_no_session_secret_on_disk",
    ],
    38: [
        "server/test_cli.py::TestRoot::test_row_38_refused_on_the_network",
        "server/test_cli.py::TestRoot::test_row_38_with_the_flag_it_goes_on",
        "server/test_cli.py::TestRoot::test_row_38_a_warning_on_the_loopback",
    ],
}


@lru_cache
def defined_in(file: Path) -> frozenset[str]:
    """The functions that a file defines, those of classes with the class before them."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}::{it.name}" for it in node.body if isinstance(it, ast.FunctionDef)
            }
    return frozenset(names)


@pytest.mark.parametrize("row", sorted(THREATS))
def test_the_tests_of_a_row_exist(row: int) -> None:
    for name in THREATS[row]:
        file, _, test = name.partition("::")
        assert test in defined_in(TESTS / file), f"row {row}: there is no {name}"


def test_every_row_that_was_promised_is_there() -> None:
    promised = {*range(1, 37), 38}  # 37 is the versions that pyproject.toml asks for
    assert set(THREATS) == promised
    table = str(__doc__).splitlines()
    assert {int(line.split()[0]) for line in table if line[:1].isdigit()} == promised


def test_a_test_named_after_a_row_is_in_the_table() -> None:
    """Whoever writes a new one here says for which row."""
    known = {name for names in THREATS.values() for name in names}
    here = sorted(Path(__file__).parent.glob("test_*.py"))
    written = {
        f"security/{path.name}::{test}"
        for path in here
        for test in defined_in(path)
        if test.startswith("test_row_")
    }
    assert written <= known


def test_every_ppserver_that_a_client_can_meet_is_recorded() -> None:
    # Row 17 is proved by the records; a ppserver that is started past them would prove nothing.
    # What test_cli starts by that name ends without a client, --help and --drain start none.
    # Those of the chaos rig are killed at any moment, and what they would record with them.
    past = {
        "server/test_cli.py": 5,
        "server/test_draining.py": 1,
        "test_docs.py": 1,
        "chaos/machine.py": 1,
        "chaos/rekeying.py": 1,
    }
    found = {
        str(path.relative_to(TESTS)): count
        for path in TESTS.rglob("*.py")
        if (count := path.read_text(encoding="utf-8").count('"-m", ' + '"ppnext.server"'))
    }
    assert found == past
