{{- /* How KEDA authenticates to Kafka, from the settings of the etl, as JSON: the trigger's metadata, the username, and
the parameters that are in Secrets and ConfigMaps. */ -}}
{{- define "ugc.kedaAuthentication" -}}
{{- $it := . -}}
{{- $root := .root -}}
{{- $given := include "ugc.given" . | fromJson -}}
{{- $protocol := include "ugc.effective" (merge (dict "variable" "UGC_KAFKA_SECURITY_PROTOCOL") $it) | lower -}}
{{- $mechanism := include "ugc.effective" (merge (dict "variable" "UGC_KAFKA_SASL_MECHANISM") $it) -}}
{{- $metadata := dict -}}
{{- $username := "" -}}
{{- $parameters := dict -}}
{{- if hasSuffix "ssl" $protocol -}}
  {{- $_ := set $metadata "tls" "enable" -}}
  {{- $_ := set $parameters "ca" "UGC_KAFKA_SSL_CA_FILE" -}}
  {{- $_ := set $parameters "cert" "UGC_KAFKA_SSL_CERT_FILE" -}}
  {{- $_ := set $parameters "key" "UGC_KAFKA_SSL_KEY_FILE" -}}
{{- end -}}
{{- if hasPrefix "sasl" $protocol -}}
  {{- $_ := set $metadata "sasl" (index (dict "PLAIN" "plaintext" "SCRAM-SHA-256" "scram_sha256" "SCRAM-SHA-512" "scram_sha512" "OAUTHBEARER" "oauthbearer") $mechanism) -}}
  {{- $oauth := eq $mechanism "OAUTHBEARER" -}}
  {{- $variable := ternary "UGC_KAFKA_OAUTH_CLIENT_ID" "UGC_KAFKA_SASL_USERNAME" $oauth -}}
  {{- $username = include "ugc.effective" (merge (dict "variable" $variable) $it) -}}
  {{- $_ := set $parameters "username" $variable -}}
  {{- $_ := set $parameters "password" (ternary "UGC_KAFKA_OAUTH_CLIENT_SECRET_FILE" "UGC_KAFKA_SASL_PASSWORD_FILE" $oauth) -}}
{{- end -}}
{{- $secret := list -}}{{- $config := list -}}
{{- range $parameter, $variable := $parameters -}}
  {{- $each := index $given $variable | default dict -}}
  {{- if eq ($each.form | default "settings") "settings" -}}
  {{- else if $each.given.existingSecret -}}
    {{- $secret = append $secret (dict "parameter" $parameter "name" $each.given.existingSecret "key" $each.given.key) -}}
  {{- else -}}
    {{- $config = append $config (dict "parameter" $parameter "name" $each.given.existingConfigMap "key" $each.given.key) -}}
  {{- end -}}
{{- end -}}
{{- if $username -}}
  {{- $config = append $config (dict "parameter" "username" "name" (printf "%s-etl-scaler" (include "ugc.fullname" $root)) "key" "username") -}}
{{- end -}}
{{ dict "metadata" $metadata "username" $username "secret" $secret "config" $config | toJson }}
{{- end }}
