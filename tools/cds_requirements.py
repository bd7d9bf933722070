"""The 120 requirements on a CDS service, each with the tests that ask it, or why it asks nothing of us.

The numbers are those of the published list of requirements on CDS Hooks 2.0 services (Inferno's
cds-hooks_2.0_requirements); the words are ours. `tools/cds_requirements_page.py` makes a page of it,
and tests/official/test_cds_requirements.py sees that no number and no test is missing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One requirement in our words: the tests that ask it, or the reason why there are none."""

    words: str
    tests: tuple[str, ...] = ()
    because: str = ""


_SERVICE = "spec/cds_hooks/test_service.py::"
_ANSWERS = "spec/cds_hooks/test_answers.py::"
_HOOKS = "spec/cds_hooks/test_hooks.py::"
_CARDS = "rooms/cds_hooks/test_cards.py::"
_TRUST = "rooms/cds_hooks/test_client_trust.py::"
_ACCESS = "rooms/cds_hooks/test_fhir_access.py::"
_TOKEN = "rooms/fhir_server/authorization/test_jwt_trust.py::"
_KEYS = "rooms/fhir_server/authorization/test_jwks.py::"
_STORE = "rooms/cds_hooks/test_store.py::"

_DISCOVERY = f"{_SERVICE}test_discovery"
_EVERY = f"{_ANSWERS}test_every_service_that_is_listed_answers_at_its_address"
_WHOLE = f"{_SERVICE}test_a_call_with_everything_prefetched"
_RULES = f"{_ANSWERS}test_a_card_with_every_member_keeps_every_rule"
_STROKE = f"{_ANSWERS}test_the_answers_of_the_stroke_service_keep_every_rule"
_ALL = f"{_ANSWERS}test_the_cards_of_every_service_keep_every_rule"
_ONE_DRAFT = f"{_ANSWERS}test_a_suggestion_of_every_service_is_one_draft_that_is_valid_fhir"
_REFUSED = f"{_CARDS}test_a_card_that_the_specification_does_not_allow_cannot_be_made"
_ABSENT = f"{_CARDS}test_absent_members_are_left_out"
_FULL = f"{_CARDS}test_a_full_card_as_json"
_TOKENS = f"{_SERVICE}test_prefetch_templates_use_allowed_tokens_only"
_FIELDS = f"{_HOOKS}test_the_fields_that_may_be_tokens"
_FETCHED = f"{_ACCESS}test_what_is_missing_is_fetched_with_the_token_of_the_call"
_PART = f"{_STORE}test_a_part_may_be_given_and_the_rest_is_fetched"
_GOOD = f"{_TOKEN}test_a_good_token"
_HOSTILE = f"{_TOKEN}test_a_hostile_token_is_refused_and_leaves_no_trace"
_ALGORITHMS = f"{_TOKEN}test_every_asymmetric_algorithm"
_FEEDBACK = f"{_SERVICE}test_feedback_is_joined_to_the_card"
_HTTPS = "rooms/fhir_server/cli/test_serve.py::test_https"
_PREFLIGHT = f"{_TRUST}test_preflight_names_the_origin_that_is_registered"
_CLIENTS = "a duty or a choice of the client"
_MUTUAL = (
    "mutual TLS may be used and is left to a proxy in front (cds_auth = off beside it); callers prove who"
    " they are with JSON Web Tokens"
)

ROWS: dict[int, Row] = {
    1: Row(
        "bodies are JSON, in both directions",
        (_DISCOVERY, f"{_SERVICE}test_another_media_type_is_415_and_too_much_is_413"),
    ),
    2: Row("production goes over HTTPS", (_HTTPS, f"{_ACCESS}test_http_is_for_this_machine_alone")),
    3: Row("no null and no empty member, but for no cards", (_ABSENT, _RULES, _STROKE, _ALL)),
    4: Row("discovery is at /cds-services below the base", (_DISCOVERY,)),
    5: Row("and always there, by GET", (_DISCOVERY, f"{_TRUST}test_discovery_needs_no_token")),
    6: Row("it is an object with a list of services", (_DISCOVERY, f"{_SERVICE}test_no_services")),
    7: Row("a service names its hook", (_DISCOVERY, _EVERY)),
    8: Row("it should have a title", (_DISCOVERY, _EVERY)),
    9: Row("it has a description", (_DISCOVERY, _EVERY)),
    10: Row("it has an id, the end of its address", (_DISCOVERY, _EVERY)),
    11: Row("it may ask for prefetch, key by key", (_DISCOVERY,)),
    12: Row("it may tell what it presupposes", (_DISCOVERY,)),
    13: Row("discovery answers 200", (_DISCOVERY,)),
    14: Row("other statuses may be answered to discovery", (f"{_SERVICE}test_other_addresses_and_methods",)),
    16: Row("a service is called at /cds-services/ and its id", (_EVERY, _WHOLE)),
    27: Row(
        "a service should answer in about 500 ms",
        ("rooms/cds_hooks/test_calls.py::test_over_the_budget_is_an_empty_answer_in_time",),
    ),
    28: Row("data may come with the call", (_WHOLE,)),
    29: Row("what is wanted is registered by discovery", (_DISCOVERY, _TOKENS)),
    34: Row(
        "data come with the call or from the FHIR server",
        (_PART, f"{_ACCESS}test_a_key_that_came_is_not_fetched"),
    ),
    35: Row("templates may refer to the context by tokens", (_TOKENS, _FIELDS)),
    36: Row("each template has a key, which names the data in the call", (_DISCOVERY, _PART)),
    52: Row(
        "prefetched data should be looked through for OperationOutcomes",
        (
            f"{_SERVICE}test_an_operation_outcome_counts_as_missing",
            f"{_SERVICE}test_warnings_inside_a_searchset_are_passed_over",
        ),
    ),
    54: Row(
        "data that are needed and cannot be had: 412",
        (
            f"{_SERVICE}test_a_missing_key_that_cannot_be_fetched_is_412",
            f"{_ACCESS}test_a_server_that_does_not_give_it",
            f"{_ACCESS}test_a_hostile_fhir_server_counts_as_missing",
        ),
    ),
    55: Row("tokens stand in double braces", (_TOKENS,)),
    56: Row("and name a field of the context or one of four ids of the user", (_TOKENS, _FIELDS)),
    57: Row("only fields at the root with a primitive value", (_TOKENS, _FIELDS)),
    58: Row(
        "queries should keep to a subset of FHIR's",
        (f"{_ANSWERS}test_every_template_keeps_to_the_subset_that_is_recommended",),
    ),
    59: Row("a field of the context is written context. and its name", (_TOKENS, _FIELDS)),
    60: Row("with fhirServer and fhirAuthorization more may be fetched", (_FETCHED, f"{_ACCESS}test_scopes")),
    61: Row(
        "every request to the FHIR server shows the token", (_FETCHED, f"{_ACCESS}test_pages_are_followed")
    ),
    74: Row("a good answer is 200 with a list of cards", (_WHOLE, _STROKE)),
    75: Row("systemActions may come beside; ours never do", (_WHOLE, _STROKE)),
    76: Row("other statuses may be answered to a call", (f"{_SERVICE}test_400_names_the_field",)),
    77: Row(
        "nothing to say: 200 and no cards",
        (_STROKE, f"{_SERVICE}test_null_for_what_is_required_is_no_card_and_no_error"),
    ),
    78: Row(
        "cards of an earlier call are taken away",
        because=f"{_CLIENTS}; the same id for several hooks is row 211",
    ),
    80: Row("card.uuid is a text that names one card", (_RULES, _FEEDBACK)),
    81: Row("card.uuid may be absent; ours never is", (_RULES, _STROKE, _ALL)),
    82: Row(
        "card.uuid may serve audit and logging",
        ("rooms/cds_hooks/test_calls.py::test_the_record_holds_what_was_asked_computed_and_answered",),
    ),
    83: Row("card.summary has fewer than 140 characters", (_REFUSED, _RULES, _STROKE, _ALL)),
    84: Row("card.detail may be there", (_RULES, _STROKE, _ALL)),
    85: Row("and is GitHub Flavored Markdown", (_RULES, _STROKE, _ALL)),
    87: Row("card.indicator is required", (_REFUSED, _RULES)),
    88: Row("info, warning or critical", (_REFUSED, _RULES)),
    89: Row("clients may sort and colour by it", because=_CLIENTS),
    90: Row("card.source is required", (_REFUSED, _RULES)),
    92: Row("card.suggestions are a list of suggestions", (_RULES, _FULL)),
    93: Row("with suggestions there is selectionBehavior", (_REFUSED, _RULES)),
    94: Row("card.suggestions may be absent", (_ABSENT,)),
    95: Row("selectionBehavior is at-most-one or any", (_REFUSED, _RULES)),
    96: Row("and a text, there whenever suggestions are", (_REFUSED, _RULES)),
    98: Row("card.overrideReasons are a list of Codings", (_RULES, _STROKE, _ALL)),
    99: Row("a service may give reasons to choose from", (_FULL, _FEEDBACK)),
    100: Row(
        "each reason has a display",
        (_REFUSED, _RULES, "rooms/cds_hooks/test_override_reasons.py::test_a_subset_goes_into_a_card"),
    ),
    103: Row("card.links are a list of links", (_RULES, _FULL)),
    104: Row("card.links may be absent", (_ABSENT,)),
    105: Row("source.label is required", (_REFUSED, _RULES)),
    106: Row("clients may show it as the text of a hyperlink", because=_CLIENTS),
    107: Row("source.url is absolute", (_REFUSED, _RULES)),
    108: Row("source.url may be absent", (_ABSENT,)),
    109: Row("source.url should be no view on this patient", (_STROKE, _ALL)),
    110: Row("such a view should be a link of the card", (_STROKE, _RULES, _ALL)),
    111: Row("source.icon is absolute", (_REFUSED, _RULES)),
    112: Row("an icon should be a PNG of 100 by 100", because="no service sends an icon (row 113)"),
    113: Row("source.icon may be absent; ours always is", (_STROKE, _ALL)),
    115: Row("source.topic is a Coding", (_REFUSED, _RULES)),
    116: Row("source.topic may be absent", (_ABSENT,)),
    117: Row("suggestion.label is required", (_REFUSED, _RULES)),
    118: Row("suggestion.uuid may be absent; ours never is", (_RULES, _FEEDBACK)),
    119: Row("suggestion.uuid is a text", (_RULES,)),
    120: Row("suggestion.isRecommended may be absent", (_FULL,)),
    121: Row("suggestion.isRecommended is a boolean", (_RULES,)),
    122: Row("several may be recommended where any may be chosen", (f"{_CARDS}test_any_allows_several",)),
    123: Row("suggestion.actions may be absent", (_RULES,)),
    124: Row("suggestion.actions are a list of actions", (_RULES, _FULL)),
    125: Row("all actions of a suggestion are taken together", (_ONE_DRAFT,)),
    127: Row("action.type is create, update or delete", (_REFUSED, _RULES)),
    128: Row("action.description is required", (_REFUSED, _RULES)),
    129: Row("clients may show it", because=_CLIENTS),
    130: Row(
        "action.resource is a resource",
        (_RULES, f"{_STORE}test_sample_and_suggested_order_are_valid_fhir", _ONE_DRAFT),
    ),
    131: Row("create holds the new resource", (_REFUSED, _RULES, _ONE_DRAFT)),
    132: Row("update holds the whole resource", (_REFUSED, _RULES)),
    133: Row("delete holds no resource", (_REFUSED, _RULES)),
    134: Row("delete should name the resource by resourceId", (_REFUSED, _RULES)),
    135: Row("action.resourceId is a text", (_RULES,)),
    136: Row("reasons can be read by people", (_REFUSED, _RULES)),
    138: Row("link.label is required", (_REFUSED, _RULES)),
    139: Row("link.url is required and absolute", (_REFUSED, _RULES)),
    140: Row("link.url may lead deep into something", (_RULES,)),
    141: Row("link.type is required", (_REFUSED, _RULES)),
    142: Row("absolute, or smart for the launch of an app", (_REFUSED, _RULES)),
    144: Row("link.appContext is a text", (_RULES, _FULL)),
    145: Row("link.appContext may be absent", (_RULES,)),
    146: Row("it should be there for smart links only", (_REFUSED, _RULES)),
    147: Row("and never for absolute ones", (_REFUSED, _RULES)),
    148: Row("a service may take feedback; ours do", (_FEEDBACK, f"{_STORE}test_feedback_twice_is_one_row")),
    168: Row("HTTPS, again", (_HTTPS, f"{_TRUST}test_a_registration_that_cannot_work_is_refused")),
    175: Row("mutual TLS may be used", because=_MUTUAL),
    176: Row("clients are known by signed JSON Web Tokens", (_GOOD, f"{_TRUST}test_a_call_needs_a_token")),
    177: Row(
        "callers should have to prove who they are",
        (f"{_TRUST}test_a_call_needs_a_token", f"{_TRUST}test_who_is_reached_from_elsewhere_asks"),
    ),
    179: Row("mutual TLS may be used beside tokens", because=_MUTUAL),
    195: Row(
        "iss and jku should be on a list of those that are allowed",
        (_HOSTILE, f"{_KEYS}test_another_jku_is_never_asked"),
    ),
    199: Row(
        "without a jku keys are handed over by themselves",
        (f"{_KEYS}test_a_key_that_was_handed_over_needs_no_server", _GOOD),
    ),
    200: Row("the algorithms are those of RFC 7518", (_ALGORITHMS,)),
    201: Row("a token without a signature is never taken", (_HOSTILE,)),
    203: Row("nor one that is signed with a shared secret", (_HOSTILE,)),
    205: Row("ES384 and RS384 are recommended", (_ALGORITHMS,)),
    206: Row(
        "the choice should be thought over again as time goes by",
        (_ALGORITHMS, f"{_TOKEN}test_a_short_rsa_key_is_unfit"),
    ),
    207: Row("a service should weigh which algorithms it trusts", (_ALGORITHMS, _HOSTILE)),
    208: Row("pages of browsers may call (CORS)", (_PREFLIGHT, f"{_SERVICE}test_preflight")),
    210: Row("a later hook may bring newer cards", (f"{_SERVICE}test_a_later_hook_brings_newer_cards",)),
    211: Row("one id with several hooks says so", (_DISCOVERY, _WHOLE)),
    212: Row("the older cards are taken away", because=_CLIENTS),
    213: Row(
        "hooks that safety depends on are agreed with the client",
        because="an agreement between people; usageRequirements and docs/services say what a service needs",
    ),
    214: Row("an extension is an object", (_REFUSED, f"{_ANSWERS}test_extensions_of_a_request")),
    215: Row("named by a reversed domain name", (_REFUSED, _RULES)),
    216: Row("coding.code is required", (_REFUSED, _RULES)),
    217: Row("coding.system is required", (_REFUSED, _RULES)),
    218: Row("coding.code is required, said twice", (_REFUSED, _RULES)),
    219: Row("coding.display is required in reasons", (_REFUSED, _RULES)),
    220: Row("coding.display may be absent in a topic", (_RULES,)),
}
