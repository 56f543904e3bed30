import { expect, it } from 'vitest';
import { apiQuestion } from '../../support/cluster/api-reader.ts';

it.each([
  ['pods', { path: '/api/v1/namespaces/default/pods', query: {} }],
  ['-n shop serviceroute cart', { path: '/apis/paas.io/v1/namespaces/shop/serviceroutes/cart', query: {} }],
  ['-n shop pods -l app=a --field-selector spec.nodeName=n1', { path: '/api/v1/namespaces/shop/pods', query: { labelSelector: 'app=a', fieldSelector: 'spec.nodeName=n1' } }],
])('%s is asked of the API', (words, question) => {
  expect(apiQuestion(words.split(' '))).toEqual(question);
});

it.each(['nodes', 'deployments,daemonsets', 'pod/cart', 'pods -A', 'pod a b', 'clusterrole onehop-agent'])('%s is left to kubectl', (words) => {
  expect(apiQuestion(words.split(' '))).toBeUndefined();
});
