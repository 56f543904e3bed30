import { checkRegexes } from '../../embedded/check-regexes.ts';
import type { CheckRegexes } from '../../model/proxy.ts';

export const openBestRegexCheck = async (_haproxyBin: string): Promise<CheckRegexes> => checkRegexes;
