/** Chains and rules of a listing (`nft -j list table`) without the handles that the kernel gives them. */
export function parseNftListing(json: string): readonly unknown[] {
  const listing: unknown = JSON.parse(json, (key, value: unknown) => (key === 'handle' ? undefined : value));
  if (typeof listing !== 'object' || listing === null || !('nftables' in listing) || !Array.isArray(listing.nftables)) return [];
  return listing.nftables.filter((object: unknown) => typeof object === 'object' && object !== null && !('metainfo' in object) && !('table' in object));
}
