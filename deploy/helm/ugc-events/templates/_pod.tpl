{{- /* Parts of a pod that runs a process. Arguments: dict "root" $ "name" "ingest". */ -}}

{{- /* Time between the end's begin and SIGKILL, at least the limits of the process together; see processes.py. */ -}}
{{- define "ugc.graceSeconds" -}}
{{- $it := . -}}
{{- $process := index (include "ugc.facts" . | fromJson).processes .name -}}
{{- $seconds := addf $process.stop_seconds (index .root.Values .name "preStopSeconds" | default 0) -}}
{{- range $variable := $process.stop_settings -}}
{{- $seconds = addf $seconds (include "ugc.effective" (merge (dict "variable" $variable) $it) | float64) -}}
{{- end -}}
{{ ceil $seconds }}
{{- end }}

{{- define "ugc.podMetadata" -}}
{{- $own := index .root.Values .name -}}
labels:
  # Without the versions: a new version of the chart alone starts no pod again.
  {{- include "ugc.selector" . | nindent 2 }}
  {{- with $own.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $own.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The pod's spec without its containers. */ -}}
{{- define "ugc.podSpec" -}}
{{- $own := index .root.Values .name -}}
automountServiceAccountToken: false
# A Service named ugc-... would add variables that begin with UGC_.
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
  {{- with include "ugc.sources" . | trim }}
  - name: files
    projected:
      defaultMode: 0440
      sources:
        {{- . | nindent 8 }}
  {{- end }}
  {{- with $own.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* The container without its ports and probes. */ -}}
{{- define "ugc.container" -}}
{{- $own := index .root.Values .name -}}
name: {{ .name }}
image: {{ include "ugc.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [ugc-{{ .name }}]
{{- with include "ugc.env" . | trim }}
env:
  {{- . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
{{- with $own.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if include "ugc.sources" . | trim }}
  - {name: files, mountPath: /etc/ugc, readOnly: true}
  {{- end }}
  {{- with $own.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
