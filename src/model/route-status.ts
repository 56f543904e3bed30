/** metav1.Condition (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/). */
export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number;
  /** RFC 3339, whole seconds. */
  readonly lastTransitionTime: string;
}

/** `status` of a ServiceRoute, as the controller writes it. */
export interface RouteStatus {
  readonly vip?: string;
  readonly vip6?: string;
  readonly globalVip?: string;
  readonly globalVip6?: string;
  readonly observedGeneration?: number;
  /** The versions in short: `cart-v1 90%, cart-v2 10%`. */
  readonly versions?: string;
  /** The resourceVersion at which this generation with these addresses was first seen: nodes that know it have them in effect. */
  readonly changeVersion?: string;
  /** `n/m`: nodes on which that is in effect, of all that report. */
  readonly programmed?: string;
  readonly conditions: readonly Condition[];
}
