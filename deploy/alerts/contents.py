"""Alert on refused files, failing models, lost fields, unknown items and lost spans."""

from __future__ import annotations

from typing import Final

from deploy.alerts.rules import DAY, HOUR, MINUTE, Alert, Group, Record


def _reload_refused(name: str, metric: str, what: str, goes_on: str) -> Alert:
    return Alert(
        name=name,
        severity="ticket",
        windows={"window": HOUR},
        expr=f'sum by (@by, instance) (increase({metric}{{result="refused"}}[@window])) > 0\n',
        summary=f"{{{{ $labels.instance }}}} refused {what}",
        description=f"{goes_on} The log says what is wrong.",
    )


def _file_refused(name: str, kind: str, what: str, goes_on: str) -> Alert:
    return Alert(
        name=name,
        severity="ticket",
        hold=5 * MINUTE,
        expr=f'max by (@by, instance) (rerank_files_refused{{kind="{kind}"}}) > 0',
        summary=f"{{{{ $labels.instance }}}} refuses {what}",
        description=f"{goes_on} The log says what is wrong.",
    )


_FILES: Final = (
    _reload_refused(
        "RerankReloadRefused", "rerank_reloads_total", "a bundle at a reload", "The version before goes on."
    ),
    Alert(
        name="RerankBundleRefused",
        severity="ticket",
        hold=5 * MINUTE,
        expr="max by (@by, model, version) (rerank_bundle_refused) > 0",
        summary="bundle {{ $labels.model }} {{ $labels.version }} is refused",
        description="An older version serves, or none. The log says what is wrong with it.",
    ),
    _file_refused(
        "RerankScenesRefused", "scenes", "the file of scenes", "The scenes before go on; at start it is not ready."
    ),
    _file_refused(
        "RerankCatalogueRefused", "catalogue", "a catalogue", "An older one goes on; without one it is not ready."
    ),
    _reload_refused("RerankKeysRefused", "rerank_key_reloads_total", "the file of keys", "The keys before go on."),
)

_MODELS: Final = (
    Alert(
        name="RerankModelErrors",
        severity="ticket",
        windows={"window": 15 * MINUTE},
        limits={"errors": 2},
        expr="sum by (@by, model, version) (increase(rerank_model_errors_total[@window])) > @errors",
        summary="{{ $labels.model }} {{ $labels.version }} fails",
        description="Its runs fail or answer what cannot be. The score formula made these lists instead.",
    ),
    Alert(
        # The median, since the client library gives no sum for a histogram with negative values.
        name="RerankShadowDisagrees",
        severity="ticket",
        hold=15 * MINUTE,
        windows={"window": HOUR},
        limits={"tau": 0.5},
        floors={"floor": 100},
        expr="""\
histogram_quantile(0.5, sum by (@by, model, version, le) (rate(rerank_shadow_kendall_tau_bucket[@window]))) < @tau
  and sum by (@by, model, version) (increase(rerank_shadow_kendall_tau_count[@window])) >= @floor
""",
        summary="the shadow {{ $labels.model }} {{ $labels.version }} orders lists otherwise",
        description="The median of Kendall's tau is {{ printf `%.2f` $value }}. No client sees its lists.",
    ),
)

_FIELDS: Final = (
    Record(
        # Not while there is no traffic: 0/0 would make every mean over time NaN.
        name="rerank:field_lost:ratio_rate5m",
        windows={"window": 5 * MINUTE},
        expr="""\
sum by (@by, model, field) (rate(rerank_field_values_total{state!="known"}[@window]))
  / (sum by (@by, model, field) (rate(rerank_field_values_total[@window])) > 0)
""",
    ),
    Alert(
        # Compared with the day that ended an hour ago: a field that is never sent, or half the time, is not lost.
        name="RerankFieldLost",
        severity="ticket",
        hold=10 * MINUTE,
        windows={"window": 5 * MINUTE, "day": DAY, "ago": HOUR},
        limits={"lost": 0.9, "before": 0.5},
        floors={"floor": 20},
        expr="""\
rerank:field_lost:ratio_rate5m > @lost
  and avg_over_time(rerank:field_lost:ratio_rate5m[@day] offset @ago) < @before
  and sum by (@by, model, field) (increase(rerank_field_values_total[@window])) >= @floor
""",
        summary="{{ $labels.model }} no longer gets {{ $labels.field }}",
        description=(
            "{{ $value | humanizePercentage }} of its values are missing or unknown to the model; before, "
            "most were known."
        ),
    ),
)

_CATALOGUES: Final = (
    Record(
        # Empty for a model without a catalogue, of which nothing is counted.
        name="rerank:items_unknown:ratio_rate5m",
        windows={"window": 5 * MINUTE},
        expr="""\
sum by (@by, model) (rate(rerank_catalogue_items_total{state="unknown"}[@window]))
  / (sum by (@by, model) (rate(rerank_catalogue_items_total[@window])) > 0)
""",
    ),
    Alert(
        # Compared with the day that ended an hour ago, as fields are.
        name="RerankItemsUnknown",
        severity="ticket",
        hold=10 * MINUTE,
        windows={"window": 5 * MINUTE, "day": DAY, "ago": HOUR},
        limits={"unknown": 0.2, "before": 0.1},
        floors={"floor": 50},
        expr="""\
rerank:items_unknown:ratio_rate5m > @unknown
  and avg_over_time(rerank:items_unknown:ratio_rate5m[@day] offset @ago) < @before
  and sum by (@by, model) (increase(rerank_catalogue_items_total[@window])) >= @floor
""",
        summary="the catalogue does not know the candidates of {{ $labels.model }}",
        description="{{ $value | humanizePercentage }} of those that it looks at are unknown; before, most were known.",
    ),
    Alert(
        name="RerankCatalogueOld",
        severity="ticket",
        hold=15 * MINUTE,
        limits={"age": 2 * DAY},
        expr="time() - (max by (@by, fingerprint) (rerank_catalogue_built_timestamp_seconds) > 0) > @age",
        summary="the catalogue of {{ $labels.fingerprint }} is old",
        description=(
            "It was built {{ $value | humanizeDuration }} ago. Prices, fields and new items since then are not in it."
        ),
    ),
    Alert(
        # Nothing is read without a live source. A request goes on with older values, so this degrades no list.
        name="RerankLiveValuesMissing",
        severity="ticket",
        hold=5 * MINUTE,
        windows={"window": 5 * MINUTE},
        limits={"share": 0.1},
        floors={"floor": 50},
        expr="""\
sum by (@by, instance) (rate(rerank_catalogue_live_reads_total{result!~"ok|cached"}[@window]))
  / (sum by (@by, instance) (rate(rerank_catalogue_live_reads_total[@window])) > 0) > @share
  and sum by (@by, instance) (increase(rerank_catalogue_live_reads_total[@window])) >= @floor
""",
        summary="{{ $labels.instance }} ranks without live values",
        description=(
            "{{ $value | humanizePercentage }} of the reads got nothing new. "
            "Lists are made of the catalogue's or default values."
        ),
    ),
    Alert(
        name="RerankLiveValuesRefused",
        severity="ticket",
        hold=5 * MINUTE,
        windows={"window": 5 * MINUTE},
        limits={"share": 0.01},
        floors={"floor": 50},
        expr="""\
sum by (@by, instance) (rate(rerank_catalogue_live_values_total{state="refused"}[@window]))
  / (sum by (@by, instance) (rate(rerank_catalogue_live_values_total[@window])) > 0) > @share
  and sum by (@by, instance) (increase(rerank_catalogue_live_values_total[@window])) >= @floor
""",
        summary="{{ $labels.instance }} refuses live values",
        description=(
            "{{ $value | humanizePercentage }} of what the live source sent cannot be used. "
            "The log names a key and an item."
        ),
    ),
)

_TRACES: Final = (
    Alert(
        name="RerankSpansLost",
        severity="ticket",
        hold=15 * MINUTE,
        windows={"window": 15 * MINUTE},
        limits={"share": 0.05},
        floors={"floor": 100},
        expr="""\
sum by (@by, instance) (rate(rerank_spans_total{result!="exported"}[@window]))
  / (sum by (@by, instance) (rate(rerank_spans_total[@window])) > 0) > @share
  and sum by (@by, instance) (increase(rerank_spans_total[@window])) >= @floor
""",
        summary="{{ $value | humanizePercentage }} of the spans of {{ $labels.instance }} are lost",
        description="The collector is down, slow or refuses them. Requests are untouched; traces have gaps.",
    ),
)

GROUPS: Final = (
    Group("listwright-files", _FILES),
    Group("listwright-models", _MODELS),
    Group("listwright-fields", _FIELDS),
    Group("listwright-catalogues", _CATALOGUES),
    Group("listwright-traces", _TRACES),
)
