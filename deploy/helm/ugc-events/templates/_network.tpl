{{- /* Parts of NetworkPolicies. */ -}}

{{- /* An egress or ingress rule: dict "key" "to" "peers" list "ports" list; without peers everybody, without ports any. */ -}}
{{- define "ugc.rule" -}}
{{- $rule := dict -}}
{{- with .peers }}{{ $_ := set $rule $.key . }}{{ end -}}
{{- $ports := list -}}
{{- range .ports }}{{ $ports = append $ports (dict "protocol" "TCP" "port" .) }}{{ end -}}
{{- with $ports }}{{ $_ := set $rule "ports" . }}{{ end -}}
{{ list $rule | toYaml }}
{{- end }}

{{- define "ugc.dns" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{- /* The ports in the settings "variables" of a process, as JSON; empty when a Secret has one of them. */ -}}
{{- define "ugc.storePorts" -}}
{{- $it := . -}}
{{- $given := include "ugc.given" . | fromJson -}}
{{- $ports := list -}}{{- $isKnown := true -}}
{{- range $variable := .variables -}}
  {{- if eq (index $given $variable | default dict).form "secretSettings" }}{{ $isKnown = false }}{{ end -}}
  {{- $text := include "ugc.effective" (merge (dict "variable" $variable) $it) -}}
  {{- range regexFindAll ":[0-9]+" $text -1 -}}
    {{- $ports = append $ports (trimPrefix ":" . | int) -}}
  {{- end -}}
  {{- /* A server of ClickHouse may be named without a port. */ -}}
  {{- range $scheme, $port := dict "clickhouse://" 9000 "clickhouses://" 9440 -}}
    {{- if contains $scheme $text }}{{ $ports = append $ports (int $port) }}{{ end -}}
  {{- end -}}
{{- end -}}
{{ ternary ($ports | uniq) list $isKnown | toJson }}
{{- end }}

{{- define "ugc.toKafka" -}}
{{- $it := merge (dict "variables" (list "UGC_KAFKA_BOOTSTRAP_SERVERS")) . -}}
{{- $values := .root.Values.networkPolicy.kafka -}}
{{- $ports := $values.ports | default (include "ugc.storePorts" $it | fromJsonArray) -}}
{{ include "ugc.rule" (dict "key" "to" "peers" $values.to "ports" $ports) }}
{{- end }}

{{- define "ugc.toClickHouse" -}}
{{- $it := merge (dict "variables" (list "UGC_CLICKHOUSE_URL" "UGC_ETL_SHARD_URLS")) . -}}
{{- $values := .root.Values.networkPolicy.clickhouse -}}
{{- $ports := $values.ports | default (include "ugc.storePorts" $it | fromJsonArray) -}}
{{ include "ugc.rule" (dict "key" "to" "peers" $values.to "ports" $ports) }}
{{- end }}
