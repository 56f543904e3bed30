export const lookUpHeaderMap = async (..._: readonly unknown[]): Promise<string | undefined> => undefined;
