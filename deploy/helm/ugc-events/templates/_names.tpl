{{- /* Names and labels. The longest suffix of a name has 20 characters. */ -}}
{{- define "ugc.fullname" -}}
{{ .Values.fullname | default .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* Labels by which Services, budgets and policies select the pods of a process: dict "root" $ "name" "ingest". */ -}}
{{- define "ugc.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "ugc.labels" -}}
{{ include "ugc.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- /* metadata of a resource: dict "root" $ "name" "ingest" "suffix" "ingest-management". */ -}}
{{- define "ugc.metadata" -}}
name: {{ include "ugc.fullname" .root }}-{{ .suffix | default .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "ugc.labels" . | nindent 2 }}
{{- end }}

{{- define "ugc.image" -}}
{{- $all := .root.Values.image -}}
{{- $own := index .root.Values .name "image" | default dict -}}
{{- $digest := $own.digest | default (ternary "" $all.digest (not (empty $own.tag))) -}}
{{- if $digest -}}
{{ $all.repository }}@{{ $digest }}
{{- else -}}
{{ $all.repository }}:{{ $own.tag | default $all.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}
