/** RFC 1123 label: a namespace's or a pod's name. 1..63 of a-z, 0-9, '-'; begins and ends alphanumeric. */
const RFC1123_LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** RFC 1035 label: a Service's (and so a route's) name; like RFC 1123 but begins with a letter. */
const RFC1035_LABEL = /^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** True for a name that Kubernetes accepts for a Service (RFC 1035 label). */
export const isServiceName = (name: string): boolean => RFC1035_LABEL.test(name);

/** True for a name that Kubernetes accepts for a namespace (RFC 1123 label). */
export const isNamespaceName = (name: string): boolean => RFC1123_LABEL.test(name);

/** True for an RFC 1123 subdomain of at most 253 characters: names of pods, nodes, ServiceAccounts, slices. */
export const isSubdomain = (name: string): boolean =>
  name.length <= 253 && name.split('.').every((label) => RFC1123_LABEL.test(label));

/** Key of a namespaced object in maps and messages: `namespace/name`. Neither part can hold a slash. */
export const objectKey = (object: { readonly namespace: string; readonly name: string }): string =>
  `${object.namespace}/${object.name}`;

/** Orders by code unit, the same on every machine (never by locale: rendered bytes depend on it). */
export const byCodeUnit = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
