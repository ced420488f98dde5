{{- /*
What the operator does in a namespace that it acts in, and no more. It reads no Secrets there: pods mount those, and
what is wrong with one is learnt from the pods. It writes no RBAC objects, so it can give nobody a right.
Server-side apply needs `patch`, and `create` where the object is new; what an apply can't mend is replaced, by `update`.
No spec of our own kinds is ever written.
*/ -}}
{{- define "eo.rules" -}}
- apiGroups: [embedding-operator.io]
  resources: [embeddingmodels, vectorindexes, searchservices]
  verbs: [get, list, watch]
- apiGroups: [embedding-operator.io]
  resources: [embeddingmodels/status, vectorindexes/status, searchservices/status]
  verbs: [patch]
# Owner references that block the deletion of the owner, where the cluster checks them (OpenShift does).
- apiGroups: [embedding-operator.io]
  resources: [embeddingmodels/finalizers, vectorindexes/finalizers, searchservices/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts, configmaps]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, update, delete]
# Volumes are made by the StatefulSets. They are made larger, and given an owner where the index says that they go with it;
# those of copies that are no more are deleted then.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch, delete]
# Why a pod does not run, or a volume is not there, is told in the status of the object that it belongs to.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# Whether another generation fits, before it is begun. A Role gives no right to classes: they are not looked at then.
- apiGroups: [""]
  resources: [resourcequotas]
  verbs: [get, list]
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, list]
{{- end -}}
