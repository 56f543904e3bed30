import type { ApiError } from './api-error.ts';

/** One resource of the API server, as a role names it. */
export interface Resource {
  /** `serviceroutes.paas.io`, `pods`. */
  readonly name: string;
  readonly path: string;
  /** Where the right to read it stands; default: the ClusterRole of this account. */
  readonly rule?: string;
}

/** Why a resource cannot be read, and what a person can do about it: one line each. */
export function describeTrouble({ name, rule = 'the ClusterRole of this account' }: Resource, verb: 'list' | 'watch' | 'get', server: string, error: ApiError): { readonly message: string; readonly remedy: string } {
  const { status, message } = error;
  switch (status) {
    case 0:
      return { message, remedy: `see that ${server} can be reached from this node` };
    case 401:
      return { message: `${server} refuses the credentials: ${message}`, remedy: 'renew the token or the certificate; in a cluster see the ServiceAccount of this pod' };
    case 403:
      return { message: `may not ${verb} ${name}: ${message}`, remedy: `allow ${verb === 'get' ? 'get' : 'list and watch'} of ${name} in ${rule}` };
    case 404:
      return { message: `${server} knows no ${name}`, remedy: name.includes('paas.io') ? 'install the CRD of this version: kubectl apply -k with the overlay of the installation, or -f with its crd.yaml' : 'use a Kubernetes that has it' };
    case 410:
      return { message: `${server} no longer knows where the watch of ${name} stood: ${message}`, remedy: 'nothing; it is listed again' };
    case 429:
      return { message: `${server} is overloaded: ${message}`, remedy: 'nothing; it is asked again when it says so' };
    default:
      return { message: `cannot ${verb} ${name}: ${message} (${status})`, remedy: 'see the log of the API server' };
  }
}
