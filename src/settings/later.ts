/** A flag, or one value of it, whose function comes in a later version, and what to do until then. */
export interface Later {
  readonly flag: string;
  /** Absent: any value set by hand is refused; the default is not. */
  readonly value?: string;
  readonly instead: string;
}

/** The whole list: a line leaves it when its function arrives. */
export const LATER: readonly Later[] = [
  { flag: 'client-ip', value: 'preserve', instead: "leave it at forwarded and read the caller's address from X-Forwarded-For" },
];

/** Why this value is refused in this version, as the end of the line `--flag`; undefined: it is not. */
export function refusedForNow(flag: string, text: string, setByHand: boolean): string | undefined {
  const later = LATER.find((each) => each.flag === flag && (each.value === undefined ? setByHand : each.value === text));
  if (later === undefined) return undefined;
  return `${later.value === undefined ? '' : ` ${later.value}`} is not in this version; ${later.instead}`;
}
