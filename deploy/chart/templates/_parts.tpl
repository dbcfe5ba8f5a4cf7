{{- /* What the pods of the API and of workers have in common. Each is called with
       (dict "part" "api" "root" $) and returns a block of YAML. */ -}}

{{- define "penjing.name" -}}
{{ printf "%s-%s" .root.Release.Name .part | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "penjing.selector" -}}
app.kubernetes.io/name: penjing
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "penjing.labels" -}}
{{ include "penjing.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "penjing.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "penjing.containerSecurity" -}}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{- define "penjing.environment" -}}
- name: PENJING_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .root.Values.secretName | quote }}, key: database-url}}
- name: PENJING_BROKER_URL
  valueFrom: {secretKeyRef: {name: {{ .root.Values.secretName | quote }}, key: broker-url}}
- name: PENJING_BLOBS
  value: /var/lib/penjing/blobs
{{- range $name, $value := .root.Values.environment }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "penjing.mounts" -}}
- {name: home, mountPath: /var/lib/penjing}
- {name: blobs, mountPath: /var/lib/penjing/blobs}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "penjing.volumes" -}}
- name: home
  emptyDir: {sizeLimit: {{ .root.Values.scratchSize }}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 256Mi}
- name: blobs
  persistentVolumeClaim:
    claimName: {{ .root.Values.storage.existingClaim | default (include "penjing.name" (dict "part" "blobs" "root" .root)) }}
{{- end }}
