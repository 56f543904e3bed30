/** `note`: worth knowing, not a fault. `skipped`: does not apply here. */
export interface Finding {
  readonly state: 'ok' | 'problem' | 'note' | 'skipped';
  readonly text: string;
  readonly remedy?: string;
}
