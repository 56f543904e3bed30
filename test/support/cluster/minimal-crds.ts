/**
 * Kinds of other projects that Onehop's manifests use, as CRDs without a schema: an object of theirs gets through a server-side dry
 * run, its fields are not checked.
 */
export const MINIMAL_CRDS = [
  crd('security.openshift.io', 'v1', 'SecurityContextConstraints', 'securitycontextconstraints', 'Cluster'),
  crd('operator.openshift.io', 'v1', 'DNS', 'dnses', 'Cluster'),
  crd('monitoring.coreos.com', 'v1', 'PodMonitor', 'podmonitors', 'Namespaced'),
];

function crd(group: string, version: string, kind: string, plural: string, scope: string) {
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: { group, scope, names: { kind, plural, singular: kind.toLowerCase() }, versions: [{ name: version, served: true, storage: true, schema }] },
  };
}
