{{- /* Settings of a process, from the values of the chart and of the process. Arguments: dict "root" $ "name" "ingest". */ -}}

{{- /* What the chart has to know of all processes; written by deploy/helm/processes.py. */ -}}
{{- define "ugc.facts" -}}
{{ .root.Files.Get "files/processes.json" }}
{{- end }}

{{- /* A value as the text of a variable. Helm reads large integers as floats, which `toString` would write as 1e+06. */ -}}
{{- define "ugc.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end }}

{{- /* Address and target that the chart chooses when no value does. */ -}}
{{- define "ugc.chosen" -}}
{{- $ip := ternary "[$(POD_IP)]" "$(POD_IP)" .root.Values.ipv6 -}}
{{- $all := ternary "[::]" "0.0.0.0" .root.Values.ipv6 -}}
{{- $fullname := include "ugc.fullname" .root -}}
{{- $chosen := dict -}}
{{- if eq .name "ingest" -}}
{{- $_ := set $chosen "UGC_INGEST_LISTEN" (printf "%s:50051" $all) -}}
{{- $_ := set $chosen "UGC_INGEST_MANAGEMENT_LISTEN" (printf "%s:9464" $ip) -}}
{{- else if eq .name "gateway" -}}
{{- $port := include "ugc.port" (dict "root" .root "name" "ingest" "variable" "UGC_INGEST_LISTEN") -}}
{{- $_ := set $chosen "UGC_GATEWAY_LISTEN" (printf "%s:8000" $all) -}}
{{- $_ := set $chosen "UGC_GATEWAY_MANAGEMENT_LISTEN" (printf "%s:9465" $ip) -}}
{{- $_ := set $chosen "UGC_INGEST_TARGET" (printf "dns:///%s-ingest.%s.svc:%s" $fullname .root.Release.Namespace $port) -}}
{{- else if eq .name "etl" -}}
{{- $_ := set $chosen "UGC_ETL_MANAGEMENT_LISTEN" (printf "%s:9466" $ip) -}}
{{- end -}}
{{ toJson $chosen }}
{{- end }}

{{- /* The settings that are given to the process, as JSON: by variable, the form and what was given. */ -}}
{{- define "ugc.given" -}}
{{- $root := .root -}}{{- $name := .name -}}
{{- $own := index $root.Values $name -}}
{{- $found := dict -}}
{{- range $variable := (index (include "ugc.facts" . | fromJson).processes $name).settings -}}
  {{- range $level := list $own $root.Values -}}
    {{- if not (hasKey $found $variable) -}}
      {{- range $form := list "settings" "secretSettings" "files" -}}
        {{- $given := index (index $level $form | default dict) $variable -}}
        {{- if not (kindIs "invalid" $given) -}}
          {{- if hasKey $found $variable -}}
            {{- fail (printf "%s of %s is given twice: in %s and in %s" $variable $name (index $found $variable "form") $form) -}}
          {{- end -}}
          {{- $_ := set $found $variable (dict "form" $form "given" $given) -}}
        {{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{ toJson $found }}
{{- end }}

{{- /* The text that a setting has in the process, with "variable": given, chosen or default; empty if a Secret has it. */ -}}
{{- define "ugc.effective" -}}
{{- $given := index (include "ugc.given" . | fromJson) .variable -}}
{{- if not $given -}}
  {{- $chosen := ternary dict (include "ugc.chosen" . | fromJson) (eq .name "migrate") -}}
  {{- index $chosen .variable | default (index (include "ugc.facts" . | fromJson).defaults .variable) -}}
{{- else if eq $given.form "settings" -}}
  {{- include "ugc.text" $given.given -}}
{{- end -}}
{{- end }}

{{- /* The port of an address setting, with "variable". */ -}}
{{- define "ugc.port" -}}
{{ include "ugc.effective" . | regexFind "[0-9]+$" }}
{{- end }}

{{- define "ugc.managementPort" -}}
{{ include "ugc.port" (dict "root" .root "name" .name "variable" (printf "UGC_%s_MANAGEMENT_LISTEN" (upper .name))) }}
{{- end }}

{{- /* Where a file is mounted: below /etc/ugc, so that a setting without a form of its own can name it too. */ -}}
{{- define "ugc.path" -}}
{{- if .existingSecret -}}secret/{{ .existingSecret }}/{{ .key }}{{- else -}}config/{{ .existingConfigMap }}/{{ .key }}{{- end -}}
{{- end }}

{{- define "ugc.env" -}}
{{- $given := include "ugc.given" . | fromJson -}}
{{- if ne .name "migrate" }}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- range $variable, $text := include "ugc.chosen" . | fromJson }}
{{- if not (hasKey $given $variable) }}
- name: {{ $variable }}
  value: {{ $text | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- range $variable, $each := $given }}
- name: {{ $variable }}
  {{- if eq $each.form "settings" }}
  value: {{ include "ugc.text" $each.given | replace "$(" "$$(" | quote }}
  {{- else if eq $each.form "secretSettings" }}
  valueFrom: {secretKeyRef: {name: {{ $each.given.existingSecret }}, key: {{ $each.given.key }}}}
  {{- else }}
  value: /etc/ugc/{{ include "ugc.path" $each.given }}
  {{- end }}
{{- end }}
{{- with (index .root.Values .name).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The files of the process as sources of one projected volume, whose files Kubernetes replaces together. */ -}}
{{- define "ugc.sources" -}}
{{- $files := concat list (index .root.Values .name).extraFiles -}}
{{- range $each := include "ugc.given" . | fromJson -}}
  {{- if eq $each.form "files" }}{{- $files = append $files $each.given }}{{ end -}}
{{- end -}}
{{- $keys := dict -}}
{{- range $file := $files -}}
  {{- $source := ternary (printf "secret/%s" $file.existingSecret) (printf "config/%s" $file.existingConfigMap) (hasKey $file "existingSecret") -}}
  {{- $_ := set $keys $source (append (index $keys $source | default list) $file.key | uniq | sortAlpha) -}}
{{- end -}}
{{- range $source, $each := $keys }}
- {{ ternary "secret" "configMap" (hasPrefix "secret/" $source) }}:
    name: {{ base $source }}
    items:
      {{- range $key := $each }}
      - {key: {{ $key }}, path: {{ $source }}/{{ $key }}}
      {{- end }}
{{- end }}
{{- end }}
