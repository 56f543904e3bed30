import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, link, mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { must } from '../lab/run.ts';

export interface ImagePlan {
  /** Name and tag: `onehop.test/tools:1`. */
  readonly name: string;
  /** Tar files, the lowest first. */
  readonly layers: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
}

interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

const OCI = 'application/vnd.oci.image';

/** Writes an image as an OCI archive (image-spec v1, image layout in a tar), as `ctr images import` and `buildah from` read it. */
export async function writeOciArchive({ name, layers, entrypoint, command }: ImagePlan, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const folder = await mkdtemp(join(dirname(path), `.${basename(path)}-`));
  try {
    const blobs = join(folder, 'blobs', 'sha256');
    await mkdir(blobs, { recursive: true });
    const addJson = async (mediaType: string, value: unknown): Promise<Blob> => {
      const bytes = Buffer.from(JSON.stringify(value));
      const hex = createHash('sha256').update(bytes).digest('hex');
      await writeFile(join(blobs, hex), bytes);
      return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
    };
    const layerBlobs = await Promise.all(layers.map((layer) => addLayer(layer, blobs)));
    const config = await addJson(`${OCI}.config.v1+json`, {
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Env: ['PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin'], Entrypoint: entrypoint, Cmd: command },
      rootfs: { type: 'layers', diff_ids: layerBlobs.map((layer) => layer.digest) },
      history: layers.map(() => ({})),
    });
    const manifest = await addJson(`${OCI}.manifest.v1+json`, { schemaVersion: 2, mediaType: `${OCI}.manifest.v1+json`, config, layers: layerBlobs });
    // containerd reads the first annotation, buildah the second.
    const annotations = { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name };
    await writeFile(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }));
    await writeFile(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
    await must(['tar', '-cf', `${path}.part`, '-C', folder, 'oci-layout', 'index.json', 'blobs'], '', 300_000);
    await rename(`${path}.part`, path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function addLayer(layer: string, blobs: string): Promise<Blob> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(layer), hash);
  const hex = hash.digest('hex');
  const blob = join(blobs, hex);
  await link(layer, blob).catch(() => copyFile(layer, blob));
  return { mediaType: `${OCI}.layer.v1.tar`, digest: `sha256:${hex}`, size: (await stat(layer)).size };
}
