"""Every kernel is compared with a plain version, and this is the list of which test does it."""

from __future__ import annotations

import ast
from pathlib import Path

from services import model

MODEL = Path(model.__file__).parent
TESTS = Path(__file__).parent
DECORATORS = {"kernel", "inline", "allocating_kernel"}

# A kernel without a test of its own is compared through the one that calls it.
TWINS = {
    "test_arena.py::test_index_is_a_dict": "arena: index_find index_find_many _index_insert _index_remove"
    " _index_remove_many",
    "test_arena.py::test_lists_are_lists": "arena: list_append list_clear list_reserve lists_get lists_set list_room",
    "test_arena.py::test_tidying_keeps_the_lists": "arena: _pack",
    "test_arena.py::test_little_idle_memory_is_left_alone": "arena: _idle_entries",
    "kernels/test_small.py::test_lists_with_a_value": "arena: valued_get valued_set",
    "kernels/test_small.py::test_the_wire_form_of_pairs": "table: _pairs_get _pairs_set",
    "kernels/test_small.py::test_cleared_lists_are_empty": "table: _clear_lists",
    "test_recency.py::test_recency_is_two_lists": "recency: _touch _unlink",
    "kernels/test_small.py::test_hashes_and_normal_numbers": "seeds: mix64 normal",
    "kernels/test_small.py::test_rows_begin_at_numbers_of_their_hash": "seeds: init_rows",
    "test_fold.py::test_decayed_counts_are_forward_decay": "fold: decay decayed_add fold_decayed",
    "test_fold.py::test_adagrad_rescales": "fold: fold_adagrad",
    "test_fold.py::test_sums_add": "fold: fold_sum",
    "test_fold.py::test_pairs_are_counts_by_neighbour": "fold: fold_pairs pair_code",
    "test_fold.py::test_the_weakest_entry_is_the_first_of_the_lowest": "fold: _weakest",
    "test_fold.py::test_the_last_list_stays": "fold: fold_replace",
    "test_topk.py::test_top_k_is_exact": "topk: _weaker offer push weigh",
    "kernels/test_small.py::test_a_sorted_range_is_a_set": "topk: excluded",
    "test_users.py::test_history_keeps_the_newest": "kernels.users: history_push",
    "kernels/test_counting.py::test_users_are_counted_as_the_plain_ones": "kernels.users: category_count seen_add",
    "kernels/test_counting.py::test_a_stream_is_counted_as_the_plain_one":
        "fold: pair_add; experts.neighbours: fetch learn _fetch _note; kernels.prefetch: fetch_list;"
        " kernels.batch: learn_batch",
    "kernels/test_counting.py::test_increments_are_the_plain_counts": "kernels.batch: count_event",
    "kernels/test_counting.py::test_live_counts_are_the_plain_ones_until_the_batch_ends": "kernels.batch: _count_live",
    "kernels/test_counting.py::test_changed_content_is_noticed": "kernels.batch: content_changes",
    "kernels/test_ranking.py::test_the_learner_learns_from_its_candidates":
        "kernels.batch: _has_seen _learn_weights",
    "kernels/test_small.py::test_rows_are_kept_as_they_were_first": "kernels.touched: increment_of keep take_back",
    "kernels/test_small.py::test_entries_are_grouped_by_their_rows": "kernels.grouping: distinct_rows grouped",
    "test_fold.py::test_halves_are_those_of_numpy": "kernels.halves: from_halves to_halves",
    "kernels/test_small.py::test_a_spot_is_a_dict": "kernels.spot: spot_clear spot_find spot_put",
    "kernels/test_small.py::test_candidates_are_a_list_without_repeats": "kernels.candidates: add",
    "kernels/test_small.py::test_the_strongest_are_the_first_of_the_sorted": "kernels.candidates: strongest",
    "test_trending.py::test_lists_are_the_strongest_rows":
        "kernels.trends: trend_key trend_refill trend_remove trend_reset trend_updates _ahead _holds _move _offer"
        " _settle",
    "test_trending.py::test_a_row_that_moves_keeps_its_place": "kernels.trends: trend_rename",
    "kernels/test_vectors.py::test_dot_sums_in_the_stated_order": "kernels.vectors: dot",
    "kernels/test_vectors.py::test_combine_is_a_sum_of_two_rows": "kernels.vectors: combine",
    "kernels/test_vectors.py::test_exp_of_columns_is_exp": "kernels.vectors: exp_columns",
    "kernels/test_vectors.py::test_exp": "kernels.vectors: exp_all exp_one",
    "kernels/test_vectors.py::test_adagrad_step": "kernels.vectors: adagrad_step",
    "kernels/test_small.py::test_logarithms": "kernels.vectors: log_all log_columns log_one",
    "kernels/test_small.py::test_draws_are_the_plain_ones": "kernels.factors: draw",
    "kernels/test_small.py::test_logits_and_the_normaliser": "kernels.factors: logits normaliser",
    "kernels/test_factors.py::test_batch_is_the_plain_step_event_by_event":
        "kernels.factors: factor_step _gates _write",
    "kernels/test_ranking.py::test_buckets_end_where_the_documents_say": "kernels.query: gap_bucket length_bucket",
    "kernels/test_ranking.py::test_the_query_is_the_plain_one": "kernels.query: query",
    "kernels/test_ranking.py::test_every_column_is_the_plain_one":
        "kernels.ranking: exclude gather score; experts.content: evidence feature_row prepare rarities rarity;"
        " experts.context: evidence prepare _share; experts.covisitation: evidence;"
        " experts.neighbours: prepare _inverse; experts.own_history: evidence prepare;"
        " experts.popularity: evidence prepare; experts.transition: evidence",
    "kernels/test_ranking.py::test_candidates_are_the_best_of_every_expert":
        "kernels.ranking: candidates; experts.context: offer; experts.covisitation: offer; experts.own_history: offer;"
        " experts.popularity: offer; experts.transition: offer",
    "kernels/test_ranking.py::test_a_step_of_the_weights_is_the_plain_one":
        "kernels.ranking: learn_mixture learn_score",
    "kernels/test_ranking.py::test_excluded_rows_are_the_named_the_seen_and_the_blocked":
        "kernels.serving: excluded_rows",
    "kernels/test_ranking.py::test_lists_are_the_best_of_the_union":
        "kernels.serving: query_vectors serve _better _fill _reasons _select _shares",
    "kernels/test_probe.py::test_equals_count_half": "kernels.probe: _rank",
    "kernels/test_probe.py::test_events_are_ranked_as_the_plain_ranking_ranks_them":
        "kernels.probe: offer_factors probe",
    "kernels/test_small.py::test_ages_fall_into_their_buckets": "kernels.cold: age_of",
    "kernels/test_untouched.py::test_every_column_is_the_plain_one":
        "kernels.cold: count_untouched describe evidence evidence_of first_occurrence forget_profile profile weigh",
    "kernels/test_untouched.py::test_scores_are_the_plain_ones":
        "kernels.cold: pull_of score_all; kernels.untouched: personal_scores _copy_told _count_told _tells",
    "kernels/test_untouched.py::test_untouched_items_take_their_places":
        "kernels.untouched: add_untouched _put_in _unlisted",
    "test_packed.py::test_written_rows_are_the_codecs": "kernels.packed: write_rows _head",
    "test_packed.py::test_rows_that_stand_are_taken_in_as_they_came":
        "kernels.packed: set_rows standing _fits _named _read_fields",
    "test_packed.py::test_damage_is_left_to_the_decoder": "kernels.packed: are_rows",
    "test_packed_users.py::test_records_are_what_the_decoder_gives":
        "kernels.packed_users: read_records _bytes _chunk_of _number _read_row",
    "test_packed_users.py::test_rows_that_are_copied_are_those_that_are_loaded":
        "kernels.packed_users: set_users _set_list",
    "test_packed_users.py::test_written_records_are_the_codecs":
        "kernels.packed_users: write_users _put_head _put_list _put_name _put_number _put_row",
    "test_packed_users.py::test_rows_of_another_layout_are_refused_as_loaded_ones_are": "kernels.packed_users: misfit",
    "test_texts.py::test_text_is_what_python_decodes": "texts: is_text",
    "test_texts.py::test_equal_texts_have_one_number": "texts: number same",
    "test_users.py::test_seen_chunks_of_many_users_come_at_once": "kernels.seen: seen_set",
    "kernels/test_hashing.py::test_blake2b_is_that_of_hashlib":
        "kernels.hashing: blake2b_64 _compress _load _mix; kernels.wire: get_eight",
    "kernels/test_hashing.py::test_ids_are_hashed_one_by_one": "kernels.hashing: hash_ids",
    "kernels/test_hashing.py::test_crc_is_that_of_zlib": "kernels.hashing: crc32",
    "../feature_extraction/test_interactions.py::test_columns_are_what_the_codec_gives":
        "feature_extraction.interactions: _put_context _put_optional _put_text _put_time _put_value _read_all"
        " _read_one;"
        " feature_extraction.kernels.avro: behind_header branch get_block get_double get_long get_text is_id",
    "../feature_extraction/test_served.py::test_bodies_are_what_the_codec_gives":
        "feature_extraction.served: _pass_optional_longs _pass_optional_text _pass_texts _read_all _read_items"
        " _read_one _write; feature_extraction.kernels.avro: pass_bytes",
    "kernels/test_wire.py::test_numbers_are_the_librarys":
        "kernels.wire: get_int put_int",
    "kernels/test_wire.py::test_hashes_are_the_librarys": "kernels.wire: put_unsigned",
    "kernels/test_wire.py::test_floats_are_the_librarys":
        "kernels.wire: get_double put_double",
    "kernels/test_wire.py::test_texts_bytes_and_lists_are_the_librarys":
        "kernels.wire: get_array get_bytes get_size get_text put_array put_binary put_size put_text",
    "kernels/test_wire.py::test_pieces_are_what_always_stands_there":
        "kernels.wire: get_piece put_bytes put_piece",
    "kernels/test_wire.py::test_words_are_little_endian":
        "kernels.wire: put_big put_word",
    "../feature_extraction/test_columns.py::test_columns_are_the_plain_extractor":
        "feature_extraction.kernels.batch: extract hash_items sort_out _take;"
        " feature_extraction.kernels.features: put_digits put_feature put_name _put_context _put_list _put_preference;"
        " feature_extraction.kernels.lists: attribute propensity_of rank_in read_lists _drawn _read_list;"
        " feature_extraction.kernels.rows: read_rows write_rows _entries _read_row _tastes _write_row;"
        " feature_extraction.kernels.rules: advance_session event_time is_repeat prefer preference_factor rate remember"
        " response_time _cut _holds _in_window",
    "../model_update/test_columns.py::test_columns_are_what_the_decoder_gives":
        "model_update.plain: read_plain _as_float _behind _find_word _head _read_one; model_update.columns: _copy",
    "../recommendation_publishing/test_lists.py::test_the_bytes_are_those_of_the_codec":
        "recommendation_publishing.avro: _find _put_double _put_id _put_long _put_reasons _write_entries",
    "../recommendation_publishing/test_lists.py::test_rows_of_longs_are_those_of_the_plain_rule":
        "recommendation_publishing.avro: _write_longs",
}  # fmt: skip
"""{test: the kernels that it compares, by module}; those of the model, unless the names say more."""


def defined(path: Path, decorators: set[str] | None = None) -> list[str]:
    """The functions of a file; of those with decorators, the ones with one of the given."""
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    return [
        f.name
        for f in functions
        if decorators is None or decorators & {d.id for d in f.decorator_list if isinstance(d, ast.Name)}
    ]


def test_every_kernel_has_a_plain_version() -> None:
    """No kernel is missing in the list, none is in it that is gone, and the tests that it names are there."""
    kernels = [
        ".".join([*path.relative_to(MODEL if path.is_relative_to(MODEL) else MODEL.parent).with_suffix("").parts, name])
        for path in MODEL.parent.rglob("*.py")
        for name in defined(path, DECORATORS)
    ]
    listed = [
        f"{module.strip()}.{name}"
        for group in TWINS.values()
        for module, names in (part.split(":") for part in group.split(";"))
        for name in names.split()
    ]
    assert sorted(listed) == sorted(kernels)
    for test in TWINS:
        file, name = test.split("::")
        assert name in defined(TESTS / "model" / file), test
