{{- define "eo.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- /* Name of everything that the chart makes, the Lease included: two releases in one namespace never meet. */ -}}
{{- define "eo.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains (include "eo.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "eo.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Cluster-scoped names also carry the namespace. */ -}}
{{- define "eo.clustername" -}}
{{- printf "%s:%s" .Release.Namespace (include "eo.fullname" .) -}}
{{- end -}}

{{- define "eo.serviceaccount" -}}
{{- default (include "eo.fullname" .) .Values.serviceAccount.existingName -}}
{{- end -}}

{{- define "eo.selector" -}}
app.kubernetes.io/name: {{ include "eo.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "eo.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "eo.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: embedding-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}
